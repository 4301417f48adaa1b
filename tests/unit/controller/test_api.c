/*
 * The whole controller from outside: REST over TLS with libcurl, an agent's messages over nng,
 * consoles and logs over upgraded connections, garbage at both ports, kill -9.
 *
 * The controller runs in a child process, which must end with status 0 (a sanitizer's complaint
 * makes it another).
 */
#include "controller/controller.h"
#include "controller/object/object.h"
#include "proto/message.h"
#include "proto/pki.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char *folder, *ca_path, *ca, *token;
    pid_t child;
    unsigned port, agent_port;
};

/* ---- the controller in a child --------------------------------------------------------------- */

/* This same program, started anew with "--controller" (nng does not live through a fork). */
static int run_controller(char **arguments)
{
    struct controller_config config = {
        .data_dir = arguments[0], .listen = arguments[1], .agent_listen = arguments[2]};
    int out = (int)g_ascii_strtoll(arguments[3], NULL, 10);
    g_autoptr(GError) error = NULL;
    struct controller *controller = controller_new(&config, &error);
    if (!controller) {
        fprintf(stderr, "%s\n", error->message);
        return 9;
    }
    unsigned ports[2] = {controller_port(controller), controller_agent_port(controller)};
    if (write(out, ports, sizeof(ports)) != sizeof(ports))
        return 8;
    close(out);
    controller_run(controller);
    controller_free(controller);
    return 0;
}

static void become_controller(struct fixture *f, int out)
{
    g_autofree char *listen = g_strdup_printf("127.0.0.1:%u", f->port);
    g_autofree char *agents = g_strdup_printf("tls+tcp://127.0.0.1:%u", f->agent_port);
    g_autofree char *fd = g_strdup_printf("%d", out);
    execl("/proc/self/exe", "test_api", "--controller", f->folder, listen, agents, fd, NULL);
    _exit(7);
}

static void start(struct fixture *f)
{
    int fds[2];
    unsigned ports[2] = {0, 0};
    assert_int_equal(pipe(fds), 0);
    f->child = fork();
    if (f->child == 0)
        become_controller(f, fds[1]);
    close(fds[1]);
    assert_int_equal(read(fds[0], ports, sizeof(ports)), sizeof(ports));
    close(fds[0]);
    f->port = ports[0];
    f->agent_port = ports[1];
}

static void end(struct fixture *f, int signal_number)
{
    int status = 0;
    kill(f->child, signal_number);
    waitpid(f->child, &status, 0);
    if (signal_number == SIGTERM && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        fail_msg("the controller ended with status %x", status);
}

static int setup(void **state)
{
    struct fixture *f = g_new0(struct fixture, 1);
    f->folder = g_dir_make_tmp("drover-api-XXXXXX", NULL);
    start(f);
    g_autofree char *config = g_build_filename(f->folder, "drover.yaml", NULL), *text = NULL;
    f->ca_path = g_build_filename(f->folder, "pki", "ca.crt", NULL);
    assert_true(g_file_get_contents(config, &text, NULL, NULL));
    assert_true(g_file_get_contents(f->ca_path, &f->ca, NULL, NULL));
    const char *token = strstr(text, "token: ");
    assert_non_null(token);
    f->token = g_strstrip(g_strdup(token + 7));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    end(f, SIGTERM);
    const char *argv[] = {"rm", "-rf", f->folder, NULL};
    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
    g_free(f->folder);
    g_free(f->ca_path);
    g_free(f->ca);
    g_free(f->token);
    g_free(f);
    return 0;
}

/* ---- REST ------------------------------------------------------------------------------------ */

static size_t collect(char *data, size_t size, size_t count, void *opaque)
{
    g_string_append_len(opaque, data, (gssize)(size * count));
    return size * count;
}

/* `token` NULL: none is sent. */
static long raw_call(struct fixture *f, const char *token, const char *method, const char *path,
                     const char *body, GString *reply)
{
    g_autofree char *url = g_strdup_printf("https://127.0.0.1:%u%s", f->port, path);
    g_autofree char *bearer = g_strdup_printf("Authorization: Bearer %s", token ? token : "");
    char reason[CURL_ERROR_SIZE] = "";
    long code = 0;
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = token ? curl_slist_append(NULL, bearer) : NULL;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CAINFO, f->ca_path);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
    CURLcode result = curl_easy_perform(curl);
    if (result != CURLE_OK && code == 0)
        g_test_message("%s", reason);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return code;
}

/* JSON in and out; bodies in single quotes for reading's sake. */
static json_t *call(struct fixture *f, const char *method, const char *path, const char *body,
                    long expected)
{
    g_autoptr(GString) reply = g_string_new(NULL);
    g_autofree char *json = body ? g_strdelimit(g_strdup(body), "'", '"') : NULL;
    long code = raw_call(f, f->token, method, path, json, reply);
    if (code != expected)
        fail_msg("%s %s: %ld, not %ld: %s", method, path, code, expected, reply->str);
    json_t *value = json_loads(reply->str, 0, NULL);
    if (!value)
        fail_msg("%s %s: no JSON: %s", method, path, reply->str);
    return value;
}

static void expect_error(struct fixture *f, const char *method, const char *path, const char *body,
                         long code, const char *reason, const char *message)
{
    json_auto_t *reply = call(f, method, path, body, code);
    assert_string_equal(object_string(reply, "error.reason", ""), reason);
    assert_int_equal(object_integer(reply, "error.code", 0), code);
    if (!strstr(object_string(reply, "error.message", ""), message))
        fail_msg("%s %s: \"%s\" is not in \"%s\"", method, path, message,
                 object_string(reply, "error.message", ""));
}

#define VMS "/api/v1/namespaces/default/virtualmachines"
#define WEB(memory)                                                                                \
    "{'apiVersion':'drover/v1','kind':'VirtualMachine','metadata':{'name':'web','labels':"         \
    "{'app':'web'}},'spec':{'memory':'" memory "','runStrategy':'Manual'}}"

static void test_objects(void **state)
{
    struct fixture *f = *state;
    json_auto_t *created = call(f, "POST", VMS, WEB("256Mi"), 201);
    assert_string_equal(object_string(created, "spec.cpu.cores", "number"), "number");
    assert_int_equal(object_integer(created, "spec.cpu.cores", 0), 1);
    expect_error(f, "POST", VMS, WEB("256Mi"), 409, "AlreadyExists", "web exists");
    json_auto_t *got = call(f, "GET", VMS "/web", NULL, 200);
    assert_string_equal(object_uid(got), object_uid(created));
    json_auto_t *list =
        call(f, "GET", "/api/v1/virtualmachines?labelSelector=app%3Dweb", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 1);
    json_auto_t *none = call(f, "GET", VMS "?labelSelector=app!%3Dweb", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(none, "items")), 0);
    expect_error(f, "GET", VMS "?labelSelector=a%20b", NULL, 400, "BadRequest", "character 3");
    json_auto_t *updated = call(f, "PUT", VMS "/web", WEB("512Mi"), 200);
    assert_string_equal(object_string(updated, "spec.memory", ""), "512Mi");
    assert_int_equal(object_integer(updated, "metadata.generation", 0), 2);
    expect_error(f, "PUT", VMS "/web",
                 "{'apiVersion':'drover/v1','kind':'VirtualMachine','metadata':{'name':'web',"
                 "'resourceVersion':'1'},'spec':{'memory':'1Gi'}}",
                 409, "Conflict", "changed meanwhile");
    expect_error(f, "PUT", VMS "/other", WEB("1Gi"), 404, "NotFound", "no VirtualMachine other");
    json_auto_t *deleted = call(f, "DELETE", VMS "/web", NULL, 202);
    assert_non_null(object_at(deleted, "metadata.deletionTimestamp"));
    for (int i = 0; i < 6000; i++) { /* only a hang takes two minutes */
        g_autoptr(GString) reply = g_string_new(NULL);
        if (raw_call(f, f->token, "GET", VMS "/web", NULL, reply) == 404)
            return;
        g_usleep(20000);
    }
    fail_msg("the machine was not deleted");
}

static void test_apply(void **state)
{
    struct fixture *f = *state;
    json_auto_t *dry = call(f, "POST", "/api/v1/apply?dryRun=true", WEB("256Mi"), 200);
    assert_string_equal(object_string(dry, "result", ""), "created");
    expect_error(f, "GET", VMS "/web", NULL, 404, "NotFound", "there is no");
    json_auto_t *first = call(f, "POST", "/api/v1/apply", WEB("256Mi"), 200);
    assert_string_equal(object_string(first, "result", ""), "created");
    json_auto_t *same = call(f, "POST", "/api/v1/apply", WEB("262144Ki"), 200);
    assert_string_equal(object_string(same, "result", ""), "unchanged");
    json_auto_t *changed = call(f, "POST", "/api/v1/apply", WEB("512Mi"), 200);
    assert_string_equal(object_string(changed, "result", ""), "configured");
    const json_t *diff = json_array_get(json_object_get(changed, "diff"), 0);
    assert_string_equal(object_string(diff, "path", ""), "spec.memory");
    assert_string_equal(object_string(diff, "old", ""), "256Mi");
    json_auto_t *invalid = call(f, "POST", "/api/v1/apply", WEB("512Mib"), 422);
    assert_string_equal(object_string(invalid, "error.field", ""), "spec.memory");
    expect_error(f, "POST", "/api/v1/apply", "{'kind':", 400, "BadRequest", "line 1, column");
    expect_error(f, "POST", "/api/v1/apply",
                 "{'apiVersion':'drover/v1','kind':'Host','metadata':{'name':'h'}}", 422, "Invalid",
                 "cannot be created");
    /* Start and stop are for Manual; the change is seen. */
    json_auto_t *started = call(f, "POST", VMS "/web/start", NULL, 202);
    assert_string_equal(object_string(started, "status.power", ""), "On");
    json_auto_t *always = call(f, "PUT", VMS "/web",
                               "{'apiVersion':'drover/v1','kind':'VirtualMachine','metadata':"
                               "{'name':'web'},'spec':{'memory':'1Gi'}}",
                               200);
    assert_non_null(always);
    expect_error(f, "POST", VMS "/web/stop", NULL, 409, "Conflict", "runStrategy Always");
    expect_error(f, "GET", VMS "/web/log", NULL, 409, "Conflict", "on no host yet");
    expect_error(f, "POST", VMS "/none/start", NULL, 404, "NotFound", "none");
}

static void test_authentication(void **state)
{
    struct fixture *f = *state;
    static const char *const closed[] = {
        "/api/v1/hosts",      VMS,       VMS "/web", "/api/v1/version", "/api/v1/cluster-info",
        "/api/v1/jointokens", "/nothing"};
    static const char *const open[] = {"/healthz", "/metrics", "/api/v1/ca"};
    g_autofree char *longer = g_strconcat(f->token, "0", NULL);
    const char *const wrong[] = {NULL, "", "0", longer};
    for (size_t i = 0; i < G_N_ELEMENTS(closed); i++)
        for (size_t t = 0; t < G_N_ELEMENTS(wrong); t++) {
            g_autoptr(GString) reply = g_string_new(NULL);
            assert_int_equal(raw_call(f, wrong[t], "GET", closed[i], NULL, reply), 401);
            assert_int_equal(raw_call(f, wrong[t], "DELETE", closed[i], NULL, reply), 401);
        }
    for (size_t i = 0; i < G_N_ELEMENTS(open); i++) {
        g_autoptr(GString) reply = g_string_new(NULL);
        assert_int_equal(raw_call(f, NULL, "GET", open[i], NULL, reply), 200);
    }
    g_autofree char *large = g_strnfill(2 << 20, ' ');
    g_autoptr(GString) reply = g_string_new(NULL);
    assert_int_equal(raw_call(f, f->token, "POST", "/api/v1/apply", large, reply), 413);
    expect_error(f, "POST", "/api/v1/version", "{}", 405, "MethodNotAllowed", "not offered");
    expect_error(f, "GET", "/api/v1/pods", NULL, 404, "NotFound", "nothing at");
    expect_error(f, "GET", "/api/v1/namespaces/a/hosts", NULL, 404, "NotFound", "nothing at");
}

/* ---- connections of our own ------------------------------------------------------------------ */

struct connection {
    SSL_CTX *context;
    SSL *ssl;
    int fd;
};

static int dial(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static struct connection connect_tls(struct fixture *f)
{
    struct connection c = {.context = pki_tls_context(false, false, f->ca, NULL, NULL, NULL),
                           .fd = dial(f->port)};
    c.ssl = SSL_new(c.context);
    assert_true(pki_expect_name(c.ssl, MESSAGE_SERVER_NAME, NULL));
    SSL_set_fd(c.ssl, c.fd);
    assert_int_equal(SSL_connect(c.ssl), 1);
    return c;
}

static void hang_up(struct connection *c)
{
    SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    SSL_CTX_free(c->context);
    close(c->fd);
}

static void say(struct connection *c, const char *text)
{
    assert_int_equal(SSL_write(c->ssl, text, (int)strlen(text)), (int)strlen(text));
}

/* Reads until `text` has come; what came is added to `got`. */
static void await(struct connection *c, GString *got, const char *text)
{
    while (!strstr(got->str, text)) {
        char buffer[4096];
        int length = SSL_read(c->ssl, buffer, sizeof(buffer));
        if (length <= 0)
            fail_msg("\"%s\" did not come after \"%s\"", text, got->str);
        g_string_append_len(got, buffer, length);
    }
}

static void ask(struct fixture *f, struct connection *c, const char *path, const char *headers)
{
    g_autofree char *request =
        g_strdup_printf("GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n", path,
                        f->token, headers);
    say(c, request);
}

static void test_watch(void **state)
{
    struct fixture *f = *state;
    struct connection c = connect_tls(f);
    g_autoptr(GString) got = g_string_new(NULL);
    ask(f, &c, "/api/v1/virtualmachines?watch=1&labelSelector=app%3Dweb&resourceVersion=0", "");
    await(&c, got, "\r\n\r\n");
    json_auto_t *created = call(f, "POST", VMS, WEB("256Mi"), 201);
    await(&c, got, "\"type\":\"ADDED\"");
    json_auto_t *updated = call(f, "PUT", VMS "/web", WEB("512Mi"), 200);
    await(&c, got, "\"memory\":\"512Mi\"");
    json_auto_t *relabelled = call(f, "PUT", VMS "/web",
                                   "{'apiVersion':'drover/v1','kind':'VirtualMachine','metadata':"
                                   "{'name':'web'},'spec':{'memory':'1Gi'}}",
                                   200);
    await(&c, got, "\"type\":\"DELETED\""); /* it no longer fits the selector */
    hang_up(&c);
    assert_non_null(created);
    assert_non_null(updated);
    assert_non_null(relabelled);
}

/* ---- an agent -------------------------------------------------------------------------------- */

struct agent {
    struct fixture *f;
    struct message_client *client;
    char *key, *certificate, *url;
    uint8_t secret[MESSAGE_SECRET_LENGTH];
    int replies, errors;
    Cluster__Assignment *orders;
};

static void answered(const ProtobufCMessage *reply, const GError *error, void *data)
{
    struct agent *agent = data;
    agent->replies++;
    agent->errors += error != NULL;
    if (!reply || reply->descriptor != &cluster__assignment__descriptor)
        return;
    size_t length = protobuf_c_message_get_packed_size(reply);
    g_autofree uint8_t *packed = g_malloc(length + 1);
    protobuf_c_message_pack(reply, packed);
    if (agent->orders)
        cluster__assignment__free_unpacked(agent->orders, NULL);
    agent->orders = cluster__assignment__unpack(NULL, length, packed);
}

/* Sends and waits for the answer. */
static void send_message(struct agent *agent, Cluster__MessageKind kind,
                         const ProtobufCMessage *body)
{
    int before = agent->replies;
    message_client_call(agent->client, kind, body, 15000, answered, agent);
    while (agent->replies == before) {
        struct pollfd fd = {.fd = message_client_fd(agent->client), .events = POLLIN};
        poll(&fd, 1, 100);
        message_client_dispatch(agent->client);
    }
}

static char *join_body(const char *token, const char *host, const char *csr)
{
    g_auto(GStrv) parts = g_strsplit(token, ":", 3);
    json_auto_t *body = json_pack("{s:s, s:s, s:s}", "token", parts[1] ? parts[1] : token, "host",
                                  host, "csr", csr);
    return json_dumps(body, 0);
}

static json_t *join(struct fixture *f, const char *token, const char *host, const char *csr,
                    long expected)
{
    g_autofree char *body = join_body(token, host, csr);
    g_autoptr(GString) reply = g_string_new(NULL);
    long code = raw_call(f, NULL, "POST", "/api/v1/join", body, reply);
    if (code != expected)
        fail_msg("join: %ld, not %ld: %s", code, expected, reply->str);
    return json_loads(reply->str, 0, NULL);
}

static void agent_start(struct agent *agent, struct fixture *f)
{
    *agent = (struct agent){.f = f, .key = pki_make_key(NULL)};
    g_autofree char *csr = pki_make_csr(agent->key, "alpha", NULL);
    json_auto_t *token = call(f, "POST", "/api/v1/jointokens", "{'hours':1}", 201);
    const char *text = object_string(token, "token", "");
    g_autofree char *pin = pki_certificate_sha256(f->ca, NULL);
    assert_true(g_str_has_suffix(text, pin));
    json_auto_t *wrong = join(f, "abc.def", "alpha", csr, 401);
    json_auto_t *other = join(f, text, "beta", csr, 422); /* the CSR is for alpha */
    json_auto_t *joined = join(f, text, "alpha", csr, 200);
    json_auto_t *again = join(f, text, "alpha", csr, 200); /* the same key: no harm */
    g_autofree char *strange_key = pki_make_key(NULL);
    g_autofree char *strange_csr = pki_make_csr(strange_key, "alpha", NULL);
    json_auto_t *stolen = join(f, text, "alpha", strange_csr, 409);
    const char *hex = object_string(joined, "secret", "");
    assert_string_equal(hex, object_string(again, "secret", ""));
    for (size_t i = 0; i < MESSAGE_SECRET_LENGTH; i++)
        agent->secret[i] =
            (uint8_t)(g_ascii_xdigit_value(hex[2 * i]) << 4 | g_ascii_xdigit_value(hex[2 * i + 1]));
    agent->certificate = g_strdup(object_string(joined, "certificate", ""));
    agent->url = g_strdup_printf("%s://127.0.0.1:%d", object_string(joined, "agentScheme", ""),
                                 (int)object_integer(joined, "agentPort", 0));
    struct message_client_config config = {.url = agent->url,
                                           .host = "alpha",
                                           .secret = agent->secret,
                                           .tls = {f->ca, agent->certificate, agent->key}};
    agent->client = message_client_new(&config, NULL);
    assert_non_null(agent->client);
    assert_true(wrong && other && stolen);
}

static void agent_register(struct agent *agent)
{
    Cluster__RegisterRequest request = CLUSTER__REGISTER_REQUEST__INIT;
    request.has_cpus = request.has_memory_bytes = 1;
    request.cpus = 4;
    request.memory_bytes = UINT64_C(4) << 30;
    send_message(agent, CLUSTER__MESSAGE_KIND__KIND_REGISTER, &request.base);
    assert_int_equal(agent->errors, 0);
}

/* Reports the machine of the first order in `state`, or nothing when there is none. */
static void agent_report(struct agent *agent, Cluster__MachineState state)
{
    Cluster__Report report = CLUSTER__REPORT__INIT;
    Cluster__MachineReport machine = CLUSTER__MACHINE_REPORT__INIT;
    Cluster__MachineReport *list[] = {&machine};
    if (agent->orders && agent->orders->n_machines > 0) {
        machine.uid = agent->orders->machines[0]->uid;
        machine.has_state = machine.has_start_id = 1;
        machine.state = state;
        machine.start_id = agent->orders->machines[0]->start_id;
        report.n_machines = 1;
        report.machines = list;
    }
    send_message(agent, CLUSTER__MESSAGE_KIND__KIND_REPORT, &report.base);
    assert_int_equal(agent->errors, 0);
}

static void agent_pull(struct agent *agent, unsigned wait_ms)
{
    Cluster__PullRequest request = CLUSTER__PULL_REQUEST__INIT;
    request.has_known_generation = agent->orders != NULL;
    request.known_generation = agent->orders ? agent->orders->generation : 0;
    request.has_wait_ms = 1;
    request.wait_ms = wait_ms;
    send_message(agent, CLUSTER__MESSAGE_KIND__KIND_PULL, &request.base);
    assert_int_equal(agent->errors, 0);
}

static void agent_end(struct agent *agent)
{
    message_client_free(agent->client);
    if (agent->orders)
        cluster__assignment__free_unpacked(agent->orders, NULL);
    g_free(agent->key);
    g_free(agent->certificate);
    g_free(agent->url);
}

static void await_phase(struct fixture *f, const char *phase)
{
    g_autofree char *last = NULL;
    for (int i = 0; i < 6000; i++) { /* only a hang takes two minutes */
        json_auto_t *machine = call(f, "GET", VMS "/web", NULL, 200);
        g_free(last);
        last = g_strdup(object_string(machine, "status.phase", ""));
        if (strcmp(last, phase) == 0)
            return;
        g_usleep(20000);
    }
    fail_msg("the phase is %s, not %s", last, phase);
}

/* To a machine that runs, as far as the controller knows. */
static void run_machine(struct agent *agent, struct fixture *f)
{
    agent_start(agent, f);
    agent_register(agent);
    agent_report(agent, 0);
    json_auto_t *made = call(f, "POST", "/api/v1/apply",
                             "{'apiVersion':'drover/v1','kind':'VirtualMachine','metadata':"
                             "{'name':'web'},'spec':{'memory':'1Gi'}}",
                             200);
    assert_non_null(made);
    for (int i = 0; i < 20 && !(agent->orders && agent->orders->n_machines); i++)
        agent_pull(agent, 5000); /* comes as soon as the machine is placed */
    assert_int_equal(agent->orders->n_machines, 1);
    assert_int_equal(agent->orders->machines[0]->want, CLUSTER__MACHINE_WANT__WANT_RUN);
    assert_int_equal(agent->orders->machines[0]->memory_bytes, 1 << 30);
    agent_report(agent, CLUSTER__MACHINE_STATE__MACHINE_RUNNING);
    await_phase(f, "Running");
}

static struct connection call_back(struct agent *agent)
{
    while (agent->orders->n_streams == 0)
        agent_pull(agent, 5000);
    const Cluster__StreamOrder *order = agent->orders->streams[0];
    g_autoptr(GString) request = g_string_new(NULL), got = g_string_new(NULL);
    g_string_append_printf(request,
                           "GET /api/v1/streams/%s HTTP/1.1\r\nHost: x\r\n"
                           "Connection: Upgrade\r\nUpgrade: drover-stream\r\n"
                           "Authorization: Ticket ",
                           order->id);
    for (size_t i = 0; i < order->ticket.len; i++)
        g_string_append_printf(request, "%02x", order->ticket.data[i]);
    g_string_append(request, "\r\n\r\n");
    struct connection c = connect_tls(agent->f);
    say(&c, request->str);
    await(&c, got, "\r\n\r\n");
    assert_true(g_str_has_prefix(got->str, "HTTP/1.1 101"));
    return c;
}

static void test_console(void **state)
{
    struct fixture *f = *state;
    struct agent agent;
    run_machine(&agent, f);
    struct connection client = connect_tls(f);
    g_autoptr(GString) seen = g_string_new(NULL), typed = g_string_new(NULL);
    ask(f, &client, VMS "/web/console", "Connection: Upgrade\r\nUpgrade: drover-console\r\n");
    struct connection host = call_back(&agent);
    await(&client, seen, "101 Switching Protocols\r\n");
    await(&client, seen, "\r\n\r\n");
    say(&host, "login: ");
    await(&client, seen, "login: ");
    say(&client, "root\r");
    await(&host, typed, "root\r");
    /* More than any buffer holds at once, both ways, and all of it arrives. */
    g_autofree char *block = g_strnfill(600000, 'x');
    say(&host, block);
    say(&host, "end of host");
    await(&client, seen, "end of host");
    assert_true(seen->len > 600000);
    hang_up(&host);
    char byte;
    assert_true(SSL_read(client.ssl, &byte, 1) <= 0); /* closed with the other side */
    hang_up(&client);
    agent_pull(&agent, 0);
    assert_int_equal(agent.orders->n_streams, 0);
    agent_end(&agent);
}

static void test_log_and_refusal(void **state)
{
    struct fixture *f = *state;
    struct agent agent;
    run_machine(&agent, f);
    struct connection client = connect_tls(f);
    g_autoptr(GString) seen = g_string_new(NULL), refused = g_string_new(NULL);
    ask(f, &client, VMS "/web/log?tailBytes=100&follow=1", "");
    struct connection host = call_back(&agent);
    assert_int_equal(agent.orders->streams[0]->tail_bytes, 100);
    assert_true(agent.orders->streams[0]->follow);
    say(&host, "booting\n");
    await(&client, seen, "booting\n");
    say(&host, "done\n");
    hang_up(&host);
    await(&client, seen, "done\n");
    await(&client, seen, "\r\n0\r\n\r\n"); /* the last chunk */
    /* The same connection asks again; the agent says no. */
    ask(f, &client, VMS "/web/log", "");
    do
        agent_pull(&agent, 5000);
    while (agent.orders->n_streams == 0);
    Cluster__Report report = CLUSTER__REPORT__INIT;
    Cluster__StreamRefusal refusal = CLUSTER__STREAM_REFUSAL__INIT;
    Cluster__StreamRefusal *list[] = {&refusal};
    refusal.id = agent.orders->streams[0]->id;
    refusal.message = (char *)"no log was written yet";
    report.refusals = list;
    report.n_refusals = 1;
    send_message(&agent, CLUSTER__MESSAGE_KIND__KIND_REPORT, &report.base);
    await(&client, refused, "no log was written yet");
    assert_non_null(strstr(refused->str, "409"));
    hang_up(&client);
    agent_end(&agent);
}

/* The agent lives on while the controller is killed and started again. */
static void test_kill_9(void **state)
{
    struct fixture *f = *state;
    struct agent agent;
    run_machine(&agent, f);
    json_auto_t *before = call(f, "GET", VMS "/web", NULL, 200);
    uint64_t generation = agent.orders->generation;
    end(f, SIGKILL);
    start(f);
    await_phase(f, "Running"); /* not "Unknown": it waits for its agents first */
    Cluster__Report report = CLUSTER__REPORT__INIT;
    send_message(&agent, CLUSTER__MESSAGE_KIND__KIND_REPORT, &report.base);
    assert_int_equal(agent.errors, 1); /* NOT_REGISTERED, over a new connection and session */
    agent.errors = 0;
    agent_register(&agent);
    agent_report(&agent, CLUSTER__MACHINE_STATE__MACHINE_RUNNING);
    agent_pull(&agent, 0);
    assert_int_equal(agent.orders->generation, generation); /* the same orders */
    json_auto_t *after = call(f, "GET", VMS "/web", NULL, 200);
    assert_string_equal(object_uid(after), object_uid(before));
    assert_int_equal(object_integer(after, "status.startId", 0), 1);
    agent_end(&agent);
}

static void test_removed_host_is_shut_out(void **state)
{
    struct fixture *f = *state;
    struct agent agent;
    run_machine(&agent, f);
    expect_error(f, "DELETE", "/api/v1/hosts/alpha", NULL, 409, "Conflict", "web is on host alpha");
    json_auto_t *forced = call(f, "DELETE", VMS "/web?force=1", NULL, 200);
    json_auto_t *gone = call(f, "DELETE", "/api/v1/hosts/alpha", NULL, 200);
    Cluster__Report report = CLUSTER__REPORT__INIT;
    send_message(&agent, CLUSTER__MESSAGE_KIND__KIND_REPORT, &report.base);
    assert_int_equal(agent.errors, 1);
    assert_true(forced && gone);
    agent_end(&agent);
}

/* ---- garbage --------------------------------------------------------------------------------- */

static void test_garbage(void **state)
{
    struct fixture *f = *state;
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    const unsigned ports[] = {f->port, f->agent_port};
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 60; i++) {
        uint8_t bytes[2048];
        for (size_t at = 0; at < sizeof(bytes); at++)
            bytes[at] = (uint8_t)g_rand_int(rand);
        if (i % 3 == 0) { /* looks like a TLS record */
            memcpy(bytes, "\x16\x03\x01\x01\x00\x01", 6);
        }
        int fd = dial(ports[i % 2]);
        G_GNUC_UNUSED ssize_t sent = send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
        close(fd);
    }
    static const char *const requests[] = {
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "FOO / HTTP/1.1\r\n\r\n",
        "GET /%zz%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /api/v1//////// HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /api/v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST /api/v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /api/v1/join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /api/v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\xff\xfe{}",
        "GET /api/v1/streams/../x HTTP/1.1\r\nHost: x\r\nUpgrade: drover-stream\r\n\r\n",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
        struct connection c = connect_tls(f);
        say(&c, requests[i]);
        hang_up(&c);
    }
    static const char *const bodies[] = {"",
                                         "null",
                                         "[]",
                                         "{}",
                                         "{'token':1}",
                                         "{'token':'a.b','host':'../x','csr':'x'}",
                                         "{'token':{'a':[]},'host':[],'csr':{}}"};
    for (size_t i = 0; i < G_N_ELEMENTS(bodies); i++) {
        g_autoptr(GString) reply = g_string_new(NULL);
        g_autofree char *json = g_strdelimit(g_strdup(bodies[i]), "'", '"');
        long code = raw_call(f, NULL, "POST", "/api/v1/join", json, reply);
        assert_true(code >= 400 && code < 500);
        code = raw_call(f, f->token, "POST", "/api/v1/apply", json, reply);
        assert_true(code >= 400 && code < 500);
    }
    g_autofree char *deep = g_strnfill(100000, '[');
    g_autoptr(GString) reply = g_string_new(NULL);
    assert_int_equal(raw_call(f, f->token, "POST", "/api/v1/apply", deep, reply), 400);
    assert_int_equal(raw_call(f, NULL, "GET", "/healthz", NULL, reply), 200);
}

/* ---- metrics --------------------------------------------------------------------------------- */

static void test_metrics(void **state)
{
    struct fixture *f = *state;
    struct agent agent;
    run_machine(&agent, f);
    json_auto_t *moved = call(f, "POST", VMS "/web/migrate", "{'targetHost':'beta'}", 201);
    assert_non_null(moved);
    g_autoptr(GString) text = g_string_new(NULL);
    assert_int_equal(raw_call(f, NULL, "GET", "/metrics", NULL, text), 200);
    static const char *const wanted[] = {
        "drover_vm_info{namespace=\"default\",name=\"web\",host=\"alpha\",phase=\"Running\"} 1",
        "drover_vms{phase=\"Running\"} 1",
        "drover_hosts{ready=\"true\"} 1",
        "drover_scheduling_duration_seconds_count 1",
        "drover_api_requests_total{method=\"POST\",code=\"201\",resource=\"virtualmachines\"} 1",
        "drover_agent_messages_total{kind=\"register\"} 1",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++)
        if (!strstr(text->str, wanted[i]))
            fail_msg("%s is not in:\n%s", wanted[i], text->str);
    g_autofree char *promtool = g_find_program_in_path("promtool");
    if (promtool) {
        g_autofree char *path = g_build_filename(f->folder, "metrics", NULL);
        g_autofree char *command = g_strdup_printf("sh -c 'promtool check metrics < %s'", path);
        g_autofree char *out = NULL, *complaints = NULL;
        int status = -1;
        assert_true(g_file_set_contents(path, text->str, -1, NULL));
        assert_true(g_spawn_command_line_sync(command, &out, &complaints, &status, NULL));
        if (status != 0 || complaints[0])
            fail_msg("promtool: %s%s", out, complaints);
    } else
        print_message("promtool is not installed: the format was not checked\n");
    agent_end(&agent);
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "--controller") == 0)
        return run_controller(argv + 2);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_objects),        TEST(test_apply),
        TEST(test_authentication), TEST(test_watch),
        TEST(test_console),        TEST(test_log_and_refusal),
        TEST(test_kill_9),         TEST(test_removed_host_is_shut_out),
        TEST(test_garbage),        TEST(test_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
