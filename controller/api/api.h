/*
 * The REST API: HTTPS (TLS 1.3 only) on the controller's --listen port. JSON in and out, UTF-8.
 *
 * Finding the server
 * ------------------
 * The controller writes DATA/drover.yaml (mode 0600) at its first start:
 *     server: https://192.0.2.1:7443
 *     serverName: drover-controller     # the name to check in the certificate, whatever the
 * address ca: |
 *       -----BEGIN CERTIFICATE----- …
 *     token: <64 hex digits>
 * The certificate names drover-controller, localhost, the computer's name and its addresses; a
 * client that reaches it by another address checks serverName (libcurl: CURLOPT_CONNECT_TO).
 *
 * Authentication
 * --------------
 * `Authorization: Bearer <token>` on everything, but: GET /healthz, /metrics, /api/v1/ca; POST
 * /api/v1/join (token in its body); GET /api/v1/streams/ID (ticket). Else 401.
 *
 * Errors
 * ------
 * Any status of 400 or above has the body
 *     {"error": {"code": 422, "reason": "Invalid", "message": "spec.memory: …",
 *                "field": "spec.memory",
 *                "problems": [{"field": "spec.memory", "message": "…"}, …]}}
 * field and problems are there for Invalid only. Reasons: BadRequest 400, Unauthorized 401,
 * NotFound 404, MethodNotAllowed 405, AlreadyExists 409, Conflict 409 (resourceVersion is not the
 * newest, or the machine's state forbids it), Expired 410 (watch from a revision no longer kept:
 * list again), TooLarge 413 (bodies are at most 1 MiB;
 * seen for sure by clients that send Expect: 100-continue, others may see the connection closed;
 * this one has no JSON body), Invalid 422, TooManyRequests 429,
 * Internal 500, Unavailable 503, Timeout 504.
 *
 * Objects
 * -------
 * PLURAL is virtualmachines, disks, migrations or events (namespaced), or hosts (not).
 *   GET    /api/v1/PLURAL                          list, of all namespaces
 *   GET    /api/v1/namespaces/NS/PLURAL            list, of one
 *   POST   /api/v1/namespaces/NS/PLURAL            create -> 201 and the object
 *   GET    /api/v1/namespaces/NS/PLURAL/NAME       -> 200 and the object
 *   PUT    /api/v1/namespaces/NS/PLURAL/NAME       update spec and labels -> 200 and the object;
 *            metadata.resourceVersion, where given, must be the newest, else 409 Conflict
 *   DELETE /api/v1/namespaces/NS/PLURAL/NAME       -> 202 and the object, deletionTimestamp set: it
 *            goes when the agent has confirmed; -> 200 when it is gone at once. Idempotent.
 *            ?force=1 on a machine or disk whose host is gone: forget it without the host's word.
 *   The same without /namespaces/NS for hosts: GET /api/v1/hosts, /api/v1/hosts/NAME, PUT (labels
 *   and spec.unschedulable), DELETE (refused while machines or disks are on it).
 * A list is {"kind": "VirtualMachineList", "apiVersion": "drover/v1",
 *            "metadata": {"resourceVersion": "123"}, "items": […]}, sorted by namespace and name.
 * ?labelSelector=app%3Dweb,tier!%3Ddb on lists and watches.
 * ?fieldSelector=involved.uid%3DUID on events: those about one object.
 * ?watch=1&resourceVersion=N on list paths: 200, chunked, one JSON object a line, from changes
 * after N (default: now) until the client closes:
 *     {"type": "ADDED"|"MODIFIED"|"DELETED", "object": {…}}
 *     {"type": "BOOKMARK", "resourceVersion": "130"}            every 15 s, and nothing else
 * happens
 *     {"type": "ERROR", "error": {…}}                           then the end; Expired: list again
 *
 * Applying
 * --------
 *   POST /api/v1/apply?dryRun=true|false   body: one object of any creatable kind
 *     -> 200 {"result": "created"|"configured"|"unchanged", "object": {…},
 *             "diff": [{"path": "spec.memory", "old": "256Mi", "new": "512Mi"}, …]}
 *   diff is there with configured. metadata.namespace is "default" where missing. spec and
 *   metadata.labels are replaced by the manifest's.
 *
 * What machines do
 * ----------------
 * VM is /api/v1/namespaces/NS/virtualmachines/NAME. Where a body is answered it is the machine.
 *   POST VM/start        -> 202. runStrategy Manual or RerunOnFailure; else 409 says what to
 * change. POST VM/stop         -> 202. ?force=1 cuts the power instead of the ACPI button. Manual
 * and RerunOnFailure; else 409. POST VM/restart      -> 202. Not Halted; ?force=1 as above. POST
 * VM/migrate      body {"targetHost": "beta"} or {} (the scheduler chooses)
 *                        -> 201 and the Migration made for it, whose status has the progress.
 *   GET  VM/console      with `Connection: Upgrade` and `Upgrade: drover-console`
 *                        -> 101, then raw bytes both ways to and from the serial port; or an error
 *                        as above (409 not running, 504 the agent did not call back in 10 s).
 *   GET  VM/log          -> 200 text/plain, chunked: the end of the serial log. ?tailBytes=N
 *                        (default 65536), ?follow=1 goes on until either side closes.
 *
 * The cluster
 * -----------
 *   GET  /healthz                -> 200 "ok\n" when the store answers, else 503
 *   GET  /metrics                -> text format 0.0.4
 *   GET  /api/v1/version         -> {"version": "0.1.0", "apiVersion": "drover/v1"}
 *   GET  /api/v1/cluster-info    -> {"clusterId": UUID, "version": …, "hosts": 2, "hostsReady": 2,
 *                                    "machines": 3, "resourceVersion": "123", "agentEndpoint":
 *                                    "tls+tcp://…:7444"}
 *   GET  /api/v1/kinds           -> {"kinds": [{"name", "plural", "shortNames", "namespaced"}, …]}
 *   GET  /api/v1/ca              -> application/x-pem-file, the cluster's CA certificate
 *   GET  /api/v1/jointokens      -> {"items": [{"id", "expires", "uses"}]}, no secrets
 *   POST /api/v1/jointokens      body {} or {"hours": 24}
 *                                -> 201 {"id", "token": "drover-join:<id>.<secret>:<sha256>",
 *                                        "expires", "command": "drover-agent --controller …
 * --join-token …"} DELETE /api/v1/jointokens/ID -> 200
 *
 * Joining (the agent)
 * -------------------
 * A join token is drover-join:<id>.<secret>:<SHA-256 of the CA certificate's DER, 64 hex digits>.
 *  1. GET https://ADDR/api/v1/ca, without checking the server's certificate; take the PEM only if
 *     the SHA-256 of its DER is the token's (proto/pki.h: pki_certificate_sha256()).
 *  2. Make an EC P-256 key and a CSR with CN = host name (pki_make_key(), pki_make_csr()).
 *  3. POST https://ADDR/api/v1/join, now checking the server with that CA and the name
 *     "drover-controller":
 *       {"token": "<id>.<secret>", "host": "alpha", "csr": "-----BEGIN …"}
 *     -> 200 {"host": "alpha", "clusterId": UUID, "certificate": PEM, "ca": PEM,
 *             "secret": "<64 hex digits>",     the host secret for proto/message.h
 *             "agentScheme": "tls+tcp", "agentPort": 7444}   the agent dials the ADDR it came by
 *     401: token unknown, expired or wrong. 409: a host of that name is a member with another key;
 *     `drover delete host NAME` first. 422: host is not a DNS label, or the CSR does not match it.
 *     Repeating it with the same key gives the same host a new certificate and the same secret.
 *  4. Keep key, certificate, CA and secret with mode 0600; dial (proto/cluster.proto).
 *
 * Streams (the agent): GET /api/v1/streams/ID, see StreamOrder in proto/cluster.proto.
 */
#pragma once

#include "controller/reconcile/cluster.h"
#include "proto/message.h"

#include <event2/event.h>

#define API_BODY_MAX (1024 * 1024) /* bytes of a request's body */

struct api;
struct credentials;

struct api_config {
    struct event_base *base;
    struct cluster *cluster;
    const struct credentials *credentials;
    const struct message_server *messages; /* for its counts; may be NULL */
    const char *address;                   /* to listen at; used by api_new() only */
    const char *advertise;                 /* what others reach it by */
    uint16_t port;                         /* 0: a free one */
    const char *agent_scheme;              /* "tls+tcp" or "tcp" */
    uint16_t agent_port;
};

/* Everything in `config` is borrowed and must outlive it. Listens when it returns. */
struct api *api_new(const struct api_config *config, GError **error);
/* Closes all connections. NULL is fine. */
void api_free(struct api *api);
uint16_t api_port(const struct api *api);
/* The store has changed: tells watchers. Call from its listener, or soon after. */
void api_store_changed(struct api *api);
/* Once a second: bookmarks. */
void api_tick(struct api *api);
