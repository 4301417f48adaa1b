#include "agent/machine.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/disk.h"
#include "agent/emulator.h"
#include "agent/files.h"
#include "agent/machine_journal.h"
#include "agent/worker.h"

#define POLL_STARTING_MS 200
#define POLL_RUNNING_MS  2000
#define CALL_TIMEOUT_MS  2000
#define PRESS_AGAIN_US   (5 * G_USEC_PER_SEC) /* a booting guest ignores the button */
#define KILL_AFTER_US    (5 * G_USEC_PER_SEC) /* after it was told to quit */

struct machine {
    struct machines *machines;
    char *uid; /* the table's key */
    char *folder, *control, *serial;
    struct machine_journal journal;
    Cluster__MachineState state; /* what is reported */
    char *message;
    Cluster__MachineWant want;
    bool runs;
    pid_t pid; /* while it runs; 0 when not known (yet) */
    int pidfd;
    struct event *ended;                     /* pidfd is readable */
    struct event *poll;                      /* timer */
    bool calling;                            /* a job talks to the emulator */
    bool gone;                               /* removed; freed when the job is back */
    int64_t stop_begun, pressed_at, quit_at; /* monotonic us; 0: not yet */
    uint64_t grace_us;
    struct machine_figures figures; /* numbers of the last status */
    char *engine;
};

struct machines {
    struct agent *agent;
    GHashTable *table; /* uid -> struct machine */
    char *boot_id;
};

static void poll_machine(struct machine *machine);
static void process_ended(struct machine *machine);

/* ---- keeping --------------------------------------------------------------------------------- */

static void set_state(struct machine *machine, Cluster__MachineState state, const char *message)
{
    if (machine->state == state && g_strcmp0(machine->message, message) == 0)
        return;
    machine->state = state;
    g_free(machine->message);
    machine->message = g_strdup(message);
    agent_changed(machine->machines->agent);
}

static bool save(struct machine *machine)
{
    g_autoptr(GError) error = NULL;

    if (machine_journal_save(&machine->journal, machine->folder, &error))
        return true;
    g_warning("machine %s: %s", machine->journal.name, error->message);
    set_state(machine, machine->state, error->message);
    return false;
}

static void on_poll(evutil_socket_t fd, short what, void *opaque)
{
    poll_machine(opaque);
}

static void schedule_poll(struct machine *machine, int ms)
{
    struct timeval delay = {ms / 1000, ms % 1000 * 1000};

    evtimer_add(machine->poll, &delay);
}

static struct machine *machine_new(struct machines *machines, const char *uid)
{
    struct machine *machine = g_new0(struct machine, 1);
    g_autofree char *control = g_strconcat(uid, ".ctl", NULL);
    g_autofree char *serial = g_strconcat(uid, ".tty", NULL);

    machine->machines = machines;
    machine->uid = g_strdup(uid);
    machine->folder = agent_path(machines->agent, "machines", uid, NULL);
    machine->control = g_build_filename(machines->agent->run_dir, control, NULL);
    machine->serial = g_build_filename(machines->agent->run_dir, serial, NULL);
    machine->pidfd = -1;
    machine->poll = evtimer_new(machines->agent->base, on_poll, machine);
    return machine;
}

static void unwatch(struct machine *machine)
{
    if (machine->ended)
        event_free(machine->ended);
    machine->ended = NULL;
    if (machine->pidfd >= 0)
        close(machine->pidfd);
    machine->pidfd = -1;
    evtimer_del(machine->poll);
}

static void machine_free(void *item)
{
    struct machine *machine = item;

    unwatch(machine);
    if (machine->calling) { /* the job comes back to it */
        machine->gone = true;
        return;
    }
    event_free(machine->poll);
    machine_journal_clear(&machine->journal);
    g_free(machine->uid);
    g_free(machine->folder);
    g_free(machine->control);
    g_free(machine->serial);
    g_free(machine->message);
    g_free(machine->engine);
    g_free(machine);
}

static void mark_disks(struct machine *machine, bool in_use)
{
    for (char **uid = machine->journal.disks; uid && *uid; uid++)
        disks_set_user(machine->machines->agent->disks, *uid, in_use ? machine->uid : NULL);
}

/* ---- the process ----------------------------------------------------------------------------- */

static void on_ended(evutil_socket_t fd, short what, void *opaque)
{
    process_ended(opaque);
}

static void watch(struct machine *machine, pid_t pid)
{
    machine->pid = pid;
    machine->pidfd = emulator_watch(pid);
    if (machine->pidfd < 0)
        return;
    machine->ended =
        event_new(machine->machines->agent->base, machine->pidfd, EV_READ, on_ended, machine);
    event_add(machine->ended, NULL);
}

static void begin_watch(struct machine *machine, pid_t pid)
{
    machine->runs = true;
    watch(machine, pid);
    mark_disks(machine, true);
    schedule_poll(machine, POLL_STARTING_MS);
}

static Cluster__MachineExit classify(const struct machine *machine, enum emulator_end end)
{
    if (machine->journal.stop_ordered)
        return CLUSTER__MACHINE_EXIT__EXIT_ORDERED;
    if (end == EMULATOR_END_POWEROFF)
        return CLUSTER__MACHINE_EXIT__EXIT_POWEROFF;
    if (g_strcmp0(machine->journal.boot_id, machine->machines->boot_id) != 0)
        return CLUSTER__MACHINE_EXIT__EXIT_LOST;
    return CLUSTER__MACHINE_EXIT__EXIT_CRASHED;
}

/* The process is no more: says how it ended, in the journal and to the controller. */
static void conclude(struct machine *machine)
{
    enum emulator_end end = emulator_end(machine->folder);
    Cluster__MachineExit how = classify(machine, end);
    bool crashed = how == CLUSTER__MACHINE_EXIT__EXIT_CRASHED;
    /* One that never came up could not be started: its last words say why. */
    bool failed = crashed && end == EMULATOR_END_FAILED &&
                  machine->state == CLUSTER__MACHINE_STATE__MACHINE_STARTING;
    g_autofree char *words = crashed ? emulator_last_words(machine->folder) : NULL;

    machine->runs = false;
    machine->pid = 0;
    mark_disks(machine, false);
    machine->stop_begun = machine->pressed_at = machine->quit_at = 0;
    machine->journal.state =
        failed ? CLUSTER__MACHINE_STATE__MACHINE_FAILED : CLUSTER__MACHINE_STATE__MACHINE_EXITED;
    machine->journal.exit = how;
    g_free(machine->journal.message);
    machine->journal.message = g_strdup(words);
    g_message("machine %s/%s has ended%s%s", machine->journal.namespace, machine->journal.name,
              words ? ": " : "", words ? words : "");
    set_state(machine, machine->journal.state, words);
    save(machine);
    agent_changed(machine->machines->agent);
    agent_reconcile(machine->machines->agent, NULL);
}

static void process_ended(struct machine *machine)
{
    if (machine->pid > 0)
        waitpid(machine->pid, NULL, WNOHANG); /* ours to reap unless a former agent started it */
    if (emulator_runs(machine->folder)) {     /* gone, but its lock not yet: look again soon */
        schedule_poll(machine, POLL_STARTING_MS);
        return;
    }
    unwatch(machine);
    conclude(machine);
}

/* ---- talking to it --------------------------------------------------------------------------- */

struct call {
    struct machine *machine;
    char *control;
    Emu__Request request;
    Emu__Reply *reply;
    GError *error;
};

static void take_status(struct machine *machine, const Emu__Status *status)
{
    struct machine_figures *figures = &machine->figures;

    figures->cpu_seconds = (double)status->cpu_time_ns / 1e9;
    figures->uptime_seconds = (double)status->uptime_ns / 1e9;
    figures->memory_bytes = status->memory_bytes;
    figures->interpreted = status->interpreted_instructions;
    figures->disk_read_bytes = figures->disk_written_bytes = 0;
    figures->disk_reads = figures->disk_writes = 0;
    for (size_t i = 0; i < status->n_disks; i++) {
        figures->disk_read_bytes += status->disks[i]->read_bytes;
        figures->disk_written_bytes += status->disks[i]->written_bytes;
        figures->disk_reads += status->disks[i]->reads;
        figures->disk_writes += status->disks[i]->writes;
    }
    if (g_strcmp0(machine->engine, status->engine) != 0) {
        g_free(machine->engine);
        machine->engine = g_strdup(status->engine);
        agent_changed(machine->machines->agent);
    }
    if (machine->state == CLUSTER__MACHINE_STATE__MACHINE_STARTING)
        set_state(machine, CLUSTER__MACHINE_STATE__MACHINE_RUNNING, NULL);
}

static void call_run(void *data)
{
    struct call *call = data;

    call->reply = emulator_call(call->control, &call->request, CALL_TIMEOUT_MS, &call->error);
}

static void call_done(void *data)
{
    struct call *call = data;
    struct machine *machine = call->machine;

    machine->calling = false;
    if (machine->gone)
        machine_free(machine);
    else if (machine->runs && call->reply && call->reply->status)
        take_status(machine, call->reply->status);
    else if (call->error)
        g_debug("machine %s: %s", machine->journal.name, call->error->message);
    if (call->reply)
        emu__reply__free_unpacked(call->reply, NULL);
    g_clear_error(&call->error);
    g_free(call->control);
    g_free(call);
}

static void call_emulator(struct machine *machine, Emu__Command command)
{
    struct call *call = g_new0(struct call, 1);

    call->machine = machine;
    call->control = g_strdup(machine->control);
    emu__request__init(&call->request);
    call->request.has_command = TRUE;
    call->request.command = command;
    machine->calling = true;
    workers_run(machine->machines->agent->workers, call_run, call_done, call);
}

/* ---- stopping -------------------------------------------------------------------------------- */

/* Power button, again every few seconds; after the grace period (or at once for a kill) quit, which
 * flushes the disks; if even that is not heard, SIGKILL. Called at every poll. */
static Emu__Command push_stop(struct machine *machine)
{
    int64_t now = g_get_monotonic_time();
    bool kill_now = machine->want != CLUSTER__MACHINE_WANT__WANT_STOP;

    if (machine->quit_at && now - machine->quit_at > KILL_AFTER_US) {
        g_warning("machine %s does not end; killing its process", machine->journal.name);
        if (machine->pidfd >= 0)
            syscall(SYS_pidfd_send_signal, machine->pidfd, SIGKILL, NULL, 0);
        else if (machine->pid > 0)
            kill(machine->pid, SIGKILL);
    } else if (!machine->quit_at &&
               (kill_now || (uint64_t)(now - machine->stop_begun) > machine->grace_us)) {
        machine->quit_at = now;
        return EMU__COMMAND__COMMAND_QUIT;
    } else if (!machine->quit_at && now - machine->pressed_at > PRESS_AGAIN_US) {
        machine->pressed_at = now;
        return EMU__COMMAND__COMMAND_POWERDOWN;
    }
    return EMU__COMMAND__COMMAND_STATUS;
}

static void poll_machine(struct machine *machine)
{
    Emu__Command command = EMU__COMMAND__COMMAND_STATUS;
    bool quick = machine->stop_begun || machine->state == CLUSTER__MACHINE_STATE__MACHINE_STARTING;

    if (!emulator_runs(machine->folder)) {
        process_ended(machine);
        return;
    }
    schedule_poll(machine, quick ? POLL_STARTING_MS : POLL_RUNNING_MS);
    if (machine->pid == 0) /* found by its lock before it had written its id */
        watch(machine, emulator_pid(machine->folder));
    if (machine->calling)
        return;
    if (machine->stop_begun)
        command = push_stop(machine);
    call_emulator(machine, command);
}

static void begin_stop(struct machine *machine)
{
    if (machine->stop_begun)
        return;
    machine->stop_begun = g_get_monotonic_time();
    machine->journal.stop_ordered = true;
    save(machine);
    set_state(machine, CLUSTER__MACHINE_STATE__MACHINE_STOPPING, NULL);
    schedule_poll(machine, 0);
}

/* ---- starting -------------------------------------------------------------------------------- */

/* The disks' paths, or NULL with the reason why one is not ready. */
static GPtrArray *disk_paths(struct machine *machine, const Cluster__MachineOrder *order,
                             char **ret_reason)
{
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);

    for (size_t i = 0; i < order->n_disks; i++) {
        g_autofree char *reason = NULL;
        char *path =
            disks_ready_path(machine->machines->agent->disks,
                             order->disks[i]->disk_uid ? order->disks[i]->disk_uid : "", &reason);

        if (!path) {
            *ret_reason = g_strdup_printf("disk %s %s", order->disks[i]->name, reason);
            g_ptr_array_unref(paths);
            return NULL;
        }
        g_ptr_array_add(paths, path);
    }
    return paths;
}

static void write_start(struct machine *machine, const Cluster__MachineOrder *order)
{
    GPtrArray *uids = g_ptr_array_new();

    for (size_t i = 0; i < order->n_disks; i++)
        g_ptr_array_add(uids, g_strdup(order->disks[i]->disk_uid));
    g_ptr_array_add(uids, NULL);
    machine_journal_clear(&machine->journal);
    machine->journal = (struct machine_journal){
        .uid = g_strdup(order->uid),
        .namespace = g_strdup(order->namespace_),
        .name = g_strdup(order->name),
        .start_id = order->start_id,
        .state = CLUSTER__MACHINE_STATE__MACHINE_STARTING,
        .boot_id = g_strdup(machine->machines->boot_id),
        .started_at = g_get_real_time() / G_USEC_PER_SEC,
        .memory_bytes = order->memory_bytes,
        .disks = (char **)g_ptr_array_free(uids, FALSE),
    };
}

static void spawn(struct machine *machine, const Cluster__MachineOrder *order, GPtrArray *paths)
{
    g_autofree char *name = g_strdup_printf("%s/%s", order->namespace_, order->name);
    g_autofree struct emulator_disk *disks = g_new0(struct emulator_disk, MAX(paths->len, 1));
    g_autoptr(GError) error = NULL;
    struct emulator_spec spec = {
        .program = machine->machines->agent->config.emulator,
        .name = name,
        .uuid = g_uuid_string_is_valid(order->uid) ? order->uid : NULL,
        .folder = machine->folder,
        .control = machine->control,
        .serial = machine->serial,
        .memory_bytes = order->memory_bytes,
        .cores = MAX(order->cores, 1),
        .cpu_model = order->cpu_model,
        .disks = disks,
        .disk_count = paths->len,
    };
    pid_t pid;

    for (guint i = 0; i < paths->len; i++)
        disks[i] = (struct emulator_disk){paths->pdata[i], order->disks[i]->bus};
    if (emulator_spawn(&spec, &pid, &error)) {
        g_message("machine %s is starting, process %d", name, (int)pid);
        set_state(machine, CLUSTER__MACHINE_STATE__MACHINE_STARTING, NULL);
        begin_watch(machine, pid);
        return;
    }
    g_warning("machine %s: %s", name, error->message);
    machine->journal.state = CLUSTER__MACHINE_STATE__MACHINE_FAILED;
    machine->journal.message = g_strdup(error->message);
    save(machine);
    set_state(machine, CLUSTER__MACHINE_STATE__MACHINE_FAILED, error->message);
}

static void want_run(struct machine *machine, const Cluster__MachineOrder *order)
{
    g_autoptr(GPtrArray) paths = NULL;
    g_autofree char *reason = NULL;
    g_autoptr(GError) error = NULL;

    if (machine->runs || order->start_id <= machine->journal.start_id)
        return;
    paths = disk_paths(machine, order, &reason);
    if (!paths) {
        set_state(machine, CLUSTER__MACHINE_STATE__MACHINE_WAITING, reason);
        return;
    }
    if (!folder_make(machine->folder, 0700, &error)) {
        set_state(machine, CLUSTER__MACHINE_STATE__MACHINE_WAITING, error->message);
        return;
    }
    if (emulator_runs(machine->folder)) {
        set_state(machine, CLUSTER__MACHINE_STATE__MACHINE_WAITING,
                  "an earlier process of this machine still runs");
        return;
    }
    write_start(machine, order);
    if (save(machine)) /* before the process, so that no crash can start it twice */
        spawn(machine, order, paths);
}

/* A start that is called off before it was begun: journalled as begun and ended, so that an order
 * to run that comes late cannot begin it any more. */
static void spend_start(struct machine *machine, const Cluster__MachineOrder *order)
{
    g_autoptr(GError) error = NULL;

    if (order->start_id > machine->journal.start_id) {
        if (!folder_make(machine->folder, 0700, &error)) {
            set_state(machine, machine->state, error->message);
            return;
        }
        write_start(machine, order);
        machine->journal.state = CLUSTER__MACHINE_STATE__MACHINE_EXITED;
        machine->journal.exit = CLUSTER__MACHINE_EXIT__EXIT_ORDERED;
        if (!save(machine))
            return;
        agent_changed(machine->machines->agent);
    }
    if (machine->state == CLUSTER__MACHINE_STATE__MACHINE_WAITING)
        set_state(machine, CLUSTER__MACHINE_STATE__MACHINE_EXITED, NULL);
}

static void want_remove(struct machine *machine)
{
    g_autoptr(GError) error = NULL;

    if (machine->runs) {
        begin_stop(machine);
        return;
    }
    if (machine->state == CLUSTER__MACHINE_STATE__MACHINE_REMOVED)
        return;
    if (folder_remove(machine->folder, &error))
        set_state(machine, CLUSTER__MACHINE_STATE__MACHINE_REMOVED, NULL);
    else
        set_state(machine, machine->state, error->message);
}

/* A machine the agent has not heard of yet: it begins as one that was never started. */
static struct machine *get_machine(struct machines *machines, const Cluster__MachineOrder *order)
{
    struct machine *machine = g_hash_table_lookup(machines->table, order->uid);

    if (machine)
        return machine;
    machine = machine_new(machines, order->uid);
    machine->journal.uid = g_strdup(order->uid);
    machine->journal.namespace = g_strdup(order->namespace_);
    machine->journal.name = g_strdup(order->name);
    machine->state = CLUSTER__MACHINE_STATE__MACHINE_EXITED;
    g_hash_table_insert(machines->table, machine->uid, machine);
    return machine;
}

static void carry_out(struct machine *machine, const Cluster__MachineOrder *order)
{
    machine->want = order->want;
    machine->grace_us = (uint64_t)order->grace_ms * 1000;
    switch (order->want) {
    case CLUSTER__MACHINE_WANT__WANT_RUN:
        want_run(machine, order);
        break;
    case CLUSTER__MACHINE_WANT__WANT_STOP:
    case CLUSTER__MACHINE_WANT__WANT_KILL:
        if (machine->runs)
            begin_stop(machine);
        else
            spend_start(machine, order);
        break;
    case CLUSTER__MACHINE_WANT__WANT_REMOVE:
        want_remove(machine);
        break;
    default:
        break;
    }
}

static bool order_is_sound(const Cluster__MachineOrder *order)
{
    if (!order->uid || !g_uuid_string_is_valid(order->uid) || !order->namespace_ || !order->name)
        return false;
    for (size_t i = 0; i < order->n_disks; i++)
        if (!order->disks[i]->disk_uid || !order->disks[i]->name || !order->disks[i]->bus)
            return false;
    return true;
}

static gboolean is_forgotten(void *key, void *item, void *opaque)
{
    const Cluster__Assignment *assignment = opaque;
    const struct machine *machine = item;

    if (machine->state != CLUSTER__MACHINE_STATE__MACHINE_REMOVED)
        return FALSE;
    for (size_t i = 0; i < assignment->n_machines; i++)
        if (g_strcmp0(assignment->machines[i]->uid, machine->uid) == 0)
            return FALSE;
    return TRUE;
}

void machines_reconcile(struct machines *machines, const Cluster__Assignment *assignment)
{
    g_hash_table_foreach_remove(machines->table, is_forgotten, (void *)assignment);
    for (size_t i = 0; i < assignment->n_machines; i++) {
        const Cluster__MachineOrder *order = assignment->machines[i];

        if (order_is_sound(order))
            carry_out(get_machine(machines, order), order);
        else
            g_warning("an order for machine %s is incomplete; ignored",
                      order->name ? order->name : "(no name)");
    }
}

/* ---- start and end of the agent -------------------------------------------------------------- */

static void find_one(struct machines *machines, const char *uid)
{
    struct machine *machine = machine_new(machines, uid);

    if (!machine_journal_load(&machine->journal, machine->folder) ||
        strcmp(machine->journal.uid, uid) != 0) {
        g_warning("%s has no journal that can be read; left alone", machine->folder);
        machine_free(machine);
        return;
    }
    g_hash_table_insert(machines->table, machine->uid, machine);
    machine->state = machine->journal.state;
    machine->message = g_strdup(machine->journal.message);
    if (emulator_runs(machine->folder)) {
        g_message("machine %s/%s runs on", machine->journal.namespace, machine->journal.name);
        machine->state = CLUSTER__MACHINE_STATE__MACHINE_STARTING; /* till it answers */
        begin_watch(machine, emulator_pid(machine->folder));
        if (machine->journal.stop_ordered)
            begin_stop(machine);
    } else if (machine->journal.state == CLUSTER__MACHINE_STATE__MACHINE_STARTING) {
        conclude(machine);
    }
}

struct machines *machines_new(struct agent *agent, GError **error)
{
    g_autofree char *folder = agent_path(agent, "machines", NULL);
    struct machines *machines = g_new0(struct machines, 1);
    const char *uid;
    GDir *dir;

    machines->agent = agent;
    machines->table = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, machine_free);
    g_file_get_contents("/proc/sys/kernel/random/boot_id", &machines->boot_id, NULL, NULL);
    if (machines->boot_id)
        g_strchomp(machines->boot_id);
    dir = folder_make(folder, 0700, error) ? g_dir_open(folder, 0, error) : NULL;
    if (!dir) {
        machines_free(machines);
        return NULL;
    }
    while ((uid = g_dir_read_name(dir)))
        if (g_uuid_string_is_valid(uid))
            find_one(machines, uid);
    g_dir_close(dir);
    return machines;
}

void machines_free(struct machines *machines)
{
    if (!machines)
        return;
    g_hash_table_destroy(machines->table);
    g_free(machines->boot_id);
    g_free(machines);
}

/* ---- telling --------------------------------------------------------------------------------- */

static Cluster__MachineReport *report_of(const struct machine *machine)
{
    Cluster__MachineReport *report = g_new(Cluster__MachineReport, 1);

    cluster__machine_report__init(report);
    report->uid = g_strdup(machine->uid);
    report->has_state = report->has_start_id = report->has_exit = TRUE;
    report->state = machine->state;
    report->start_id = machine->journal.start_id;
    report->exit = machine->journal.exit;
    report->message = g_strdup(machine->message);
    report->has_started_at = report->has_pid = TRUE;
    report->started_at = (uint64_t)machine->journal.started_at;
    report->pid = (uint32_t)machine->pid;
    report->engine = g_strdup(machine->engine);
    return report;
}

Cluster__MachineReport **machines_reports(struct machines *machines, size_t *ret_count)
{
    guint size = g_hash_table_size(machines->table);
    Cluster__MachineReport **reports = g_new0(Cluster__MachineReport *, size);
    GHashTableIter iter;
    void *item;
    size_t n = 0;

    g_hash_table_iter_init(&iter, machines->table);
    while (g_hash_table_iter_next(&iter, NULL, &item))
        reports[n++] = report_of(item);
    *ret_count = n;
    return reports;
}

void machines_reports_free(Cluster__MachineReport **reports, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        g_free(reports[i]->uid);
        g_free(reports[i]->message);
        g_free(reports[i]->engine);
        g_free(reports[i]);
    }
    g_free(reports);
}

char *machines_serial_socket(struct machines *machines, const char *uid)
{
    struct machine *machine = g_hash_table_lookup(machines->table, uid);

    return machine && machine->runs ? g_strdup(machine->serial) : NULL;
}

char *machines_serial_log(struct machines *machines, const char *uid)
{
    struct machine *machine = g_hash_table_lookup(machines->table, uid);

    return machine ? g_build_filename(machine->folder, "serial.log", NULL) : NULL;
}

bool machines_runs(struct machines *machines, const char *uid)
{
    struct machine *machine = g_hash_table_lookup(machines->table, uid);

    return machine && machine->runs;
}

void machines_each(struct machines *machines,
                   void (*fn)(void *opaque, const struct machine_figures *figures), void *opaque)
{
    GHashTableIter iter;
    void *item;

    g_hash_table_iter_init(&iter, machines->table);
    while (g_hash_table_iter_next(&iter, NULL, &item)) {
        struct machine *machine = item;
        struct machine_figures figures = machine->figures;

        figures.uid = machine->uid;
        figures.namespace = machine->journal.namespace;
        figures.name = machine->journal.name;
        figures.engine = machine->engine;
        figures.running = machine->runs;
        fn(opaque, &figures);
    }
}
