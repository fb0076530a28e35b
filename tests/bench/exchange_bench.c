/* Pull and push over tcp: one client here, one server process with one shard thread, IN_FLIGHT
 * requests. Against the bare exchange of the same frames with another process through
 * common/transport: the other end answers without looking, and nobody copies what arrives. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/rng.h"
#include "common/transport.h"
#include "ps/client/client.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_processes.h"

#define DIM          64u
#define ROW_BYTES    (DIM * sizeof(float))
#define REQUEST_KEYS 16384u
#define IN_FLIGHT    4u
#define REQUESTS     64u
#define PART_BYTES   (1u << 20) /* what the client cuts requests into: keys and values together */
#define PARTS_MAX    ((uint32_t)(REQUEST_KEYS * (ROW_BYTES + sizeof(uint64_t)) / PART_BYTES + 1))
#define WAIT_NS      (10 * NS_PER_MS)

static const char *const names[] = {"pull-tcp-f32", "push-tcp-f32", "pull-tcp-bf16"};
#define NAMES (sizeof names / sizeof *names)

static uint32_t row_bytes(Anthill__Encoding encoding)
{
    return encoding == ANTHILL__ENCODING__ENCODING_BF16 ? ROW_BYTES / 2 : ROW_BYTES;
}

static uint32_t part_keys(Anthill__Encoding encoding)
{
    return (uint32_t)(PART_BYTES / (row_bytes(encoding) + sizeof(uint64_t)));
}

static uint32_t parts(Anthill__Encoding encoding)
{
    return (REQUEST_KEYS + part_keys(encoding) - 1) / part_keys(encoding);
}

struct exchange {
    unsigned requests;
    uint64_t row_count;
    uint64_t *keys;           /* [requests, REQUEST_KEYS], no key twice in a request */
    float *values[IN_FLIGHT]; /* where pulled rows go; what bare frames hold */
    float *grads;             /* of one request */
    struct client *client;
    uint32_t table;
    struct transport *bare; /* to the bare end */
};

static enum status client_requests(struct exchange *exchange, bool push, struct error *error)
{
    uint64_t tickets[IN_FLIGHT];
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < exchange->requests + IN_FLIGHT && status == STATUS_OK; i++) {
        const unsigned place = i % IN_FLIGHT;
        const uint64_t *keys = exchange->keys + (size_t)i * REQUEST_KEYS;
        if (i >= IN_FLIGHT) status = client_wait(exchange->client, tickets[place], error);
        if (i >= exchange->requests || status != STATUS_OK) continue;
        status = push ? client_push(exchange->client, exchange->table, keys, REQUEST_KEYS,
                                    exchange->grads, 1.0f, &tickets[place], error)
                      : client_pull(exchange->client, exchange->table, keys, REQUEST_KEYS,
                                    exchange->values[place], false, &tickets[place], error);
    }
    return status;
}

static enum status run_pull(void *context, struct error *error)
{
    return client_requests(context, false, error);
}

static enum status run_push(void *context, struct error *error)
{
    return client_requests(context, true, error);
}

static enum status run_pull_bf16(void *context, struct error *error)
{
    struct exchange *exchange = context;
    enum status status = client_set_encoding(exchange->client, exchange->table,
                                             ANTHILL__ENCODING__ENCODING_BF16, error);
    if (status == STATUS_OK) status = client_requests(exchange, false, error);
    if (status != STATUS_OK) return status;
    return client_set_encoding(exchange->client, exchange->table, ANTHILL__ENCODING__ENCODING_F32,
                               error);
}

/* ---- the bare exchange ------------------------------------------------------------------------
 */

static void send_kept(struct transport *transport, struct message *message)
{
    while (transport_send(transport, message) == STATUS_BUSY)
        transport_poll(&transport, 1, NS_PER_MS);
}

/* `answer`: how many came before; rows stand in as much memory as requests in flight need. */
static void bare_answer(struct transport *transport, const struct message *request, char *rows,
                        uint64_t answer)
{
    const bool pull = request->envelope->body_case == ANTHILL__ENVELOPE__BODY_PULL;
    Anthill__PullReply pull_reply = ANTHILL__PULL_REPLY__INIT;
    Anthill__PushReply push_reply = ANTHILL__PUSH_REPLY__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    struct frame frame = {.data = rows + answer % (IN_FLIGHT * PARTS_MAX) * PART_BYTES};
    envelope.request = request->envelope->request;
    if (pull) {
        envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL_REPLY;
        envelope.pull_reply = &pull_reply;
        frame.bytes =
            request->envelope->pull->key_count * row_bytes(request->envelope->pull->encoding);
    } else {
        envelope.body_case = ANTHILL__ENVELOPE__BODY_PUSH_REPLY;
        envelope.push_reply = &push_reply;
    }
    struct message reply;
    CHECK(wire_pack(&reply, request->peer, &envelope, &frame, pull ? 1 : 0) == STATUS_OK);
    send_kept(transport, &reply);
}

/* The other end, a process of its own until it is killed. */
__attribute__((noreturn)) static void bare_end(int endpoint_fd)
{
    struct transport *transport;
    struct message message;
    struct error error = {.text = ""};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char *rows = malloc((size_t)IN_FLIGHT * PARTS_MAX * PART_BYTES);
    CHECK(rows != NULL);
    memset(rows, 1, (size_t)IN_FLIGHT * PARTS_MAX * PART_BYTES);
    CHECK(transport_listen(&transport, "tcp://127.0.0.1:*", &error) == STATUS_OK);
    dprintf(endpoint_fd, "%s", transport_endpoint(transport));
    close(endpoint_fd);
    for (uint64_t answers = 0;;) {
        transport_poll(&transport, 1, WAIT_NS);
        while (transport_receive(transport, &message) == STATUS_OK) {
            bare_answer(transport, &message, rows, answers++);
            wire_message_deinit(&message);
        }
    }
}

/* Forks before this process has a transport, whose threads a child would not have. */
static pid_t bare_end_start(char *endpoint, size_t endpoint_bytes)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ends[0]);
        bare_end(ends[1]);
    }
    close(ends[1]);
    size_t bytes = 0;
    ssize_t got;
    while ((got = read(ends[0], endpoint + bytes, endpoint_bytes - 1 - bytes)) > 0)
        bytes += (size_t)got;
    endpoint[bytes] = '\0';
    close(ends[0]);
    return child;
}

static void bare_request(struct exchange *exchange, unsigned request, bool push,
                         Anthill__Encoding encoding)
{
    const uint32_t count_max = part_keys(encoding);
    for (uint32_t first = 0; first < REQUEST_KEYS; first += count_max) {
        const uint32_t left = REQUEST_KEYS - first;
        const uint32_t count = left < count_max ? left : count_max;
        Anthill__Pull pull = ANTHILL__PULL__INIT;
        Anthill__Push push_body = ANTHILL__PUSH__INIT;
        Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
        pull.key_count = push_body.key_count = count;
        envelope.request = request;
        pull.encoding = encoding;
        if (push) {
            envelope.body_case = ANTHILL__ENVELOPE__BODY_PUSH;
            envelope.push = &push_body;
        } else {
            envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
            envelope.pull = &pull;
        }
        struct frame frames[] = {
            {.data = exchange->keys + (size_t)request * REQUEST_KEYS + first,
             .bytes = count * sizeof(uint64_t)},
            {.data = exchange->values[request % IN_FLIGHT] + (size_t)first * DIM,
             .bytes = count * ROW_BYTES}};
        struct message message;
        CHECK(wire_pack(&message, 0, &envelope, frames, push ? 2 : 1) == STATUS_OK);
        send_kept(exchange->bare, &message);
    }
}

/* Answers come in the order of the requests: one connection, one thread at its end. */
static enum status bare_requests(struct exchange *exchange, bool push, Anthill__Encoding encoding,
                                 struct error *error)
{
    const uint32_t answers = parts(encoding);
    unsigned sent = 0;
    uint64_t answered = 0;
    struct message message;
    uint64_t heard_ns = clock_now_ns();
    while (answered < (uint64_t)exchange->requests * answers) {
        while (sent < exchange->requests && sent < answered / answers + IN_FLIGHT)
            bare_request(exchange, sent++, push, encoding);
        if (transport_receive(exchange->bare, &message) == STATUS_OK) {
            wire_message_deinit(&message);
            answered++;
            heard_ns = clock_now_ns();
        } else if (clock_now_ns() - heard_ns > 60 * NS_PER_S) {
            return error_set(error, STATUS_UNAVAILABLE, "the bare exchange stands still");
        } else {
            transport_poll(&exchange->bare, 1, WAIT_NS);
        }
    }
    return STATUS_OK;
}

static enum status run_bare_pull(void *context, struct error *error)
{
    return bare_requests(context, false, ANTHILL__ENCODING__ENCODING_F32, error);
}

static enum status run_bare_push(void *context, struct error *error)
{
    return bare_requests(context, true, ANTHILL__ENCODING__ENCODING_F32, error);
}

static enum status run_bare_pull_bf16(void *context, struct error *error)
{
    return bare_requests(context, false, ANTHILL__ENCODING__ENCODING_BF16, error);
}

/* ---- cases ------------------------------------------------------------------------------------
 */

static enum status create_rows(struct exchange *exchange, struct error *error)
{
    Anthill__OptimizerSpec optimizer = ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer.kind = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD;
    optimizer.rate = 0.01f;
    optimizer.epsilon = 1e-10f;
    Anthill__TableSpec spec = ANTHILL__TABLE_SPEC__INIT;
    spec.name = "bench";
    spec.dim = DIM;
    spec.optimizer = &optimizer;
    enum status status = client_table(exchange->client, &spec, &exchange->table, error);
    uint64_t *keys = exchange->keys;
    for (uint64_t first = 0; first < exchange->row_count && status == STATUS_OK;) {
        uint64_t ticket;
        uint32_t count = 0;
        for (; count < REQUEST_KEYS && first < exchange->row_count; count++)
            keys[count] = first++;
        status = client_pull(exchange->client, exchange->table, keys, count, exchange->values[0],
                             false, &ticket, error);
        if (status == STATUS_OK) status = client_wait(exchange->client, ticket, error);
    }
    return status;
}

/* Random keys, none twice in a request: consecutive images of a permutation. */
static void draw_keys_and_grads(struct exchange *exchange)
{
    for (unsigned r = 0; r < exchange->requests; r++)
        for (uint32_t i = 0; i < REQUEST_KEYS; i++)
            exchange->keys[(size_t)r * REQUEST_KEYS + i] =
                rng_permute(r + 1, exchange->row_count, i);
    for (uint32_t i = 0; i < REQUEST_KEYS * DIM; i++)
        exchange->grads[i] = (float)(i % 13) * 1e-3f - 6e-3f;
}

static enum status measure(struct bench *bench, struct exchange *exchange, struct error *error)
{
    struct bench_step steps[] = {{run_pull, exchange, 0},      {run_bare_pull, exchange, 0},
                                 {run_push, exchange, 0},      {run_bare_push, exchange, 0},
                                 {run_pull_bf16, exchange, 0}, {run_bare_pull_bf16, exchange, 0}};
    enum status status = bench_alternate(steps, 2 * NAMES, bench_rounds(bench, 11), error);
    if (status != STATUS_OK) return status;
    const double rows = (double)REQUEST_KEYS * exchange->requests;
    for (unsigned i = 0; i < NAMES; i++)
        if (bench_wants(bench, names[i]))
            bench_report(bench, names[i], rows / steps[2 * i].seconds, "rows/s",
                         rows / steps[2 * i + 1].seconds);
    return STATUS_OK;
}

static enum status measure_with_server(struct bench *bench, struct exchange *exchange,
                                       const char *bare_endpoint, struct error *error)
{
    struct bench_processes run;
    bench_processes_init(&run, bench);
    bench_processes_set(&run, "network.transport=tcp");
    bench_processes_set(&run, "network.timeout_seconds=3600"); /* no worker ever comes */
    bench_processes_set(&run, "servers.count=1");
    enum status status = bench_processes_coordinator(&run, "tcp://127.0.0.1:*", error);
    const struct client_options options = {
        .coordinator = run.endpoint, .name = "bench", .timeout_ns = 60 * NS_PER_S};
    if (status == STATUS_OK) {
        bench_processes_add(&run, "anthill-ps", "serve", "--server", "0");
        status = client_open(&exchange->client, &options, error);
    }
    if (status == STATUS_OK) status = create_rows(exchange, error);
    draw_keys_and_grads(exchange);
    if (status == STATUS_OK) status = transport_connect(&exchange->bare, bare_endpoint, error);
    if (status == STATUS_OK) status = measure(bench, exchange, error);
    transport_close(exchange->bare);
    client_close(exchange->client);
    bench_processes_deinit(&run);
    return status;
}

enum status exchange_cases(struct bench *bench, struct error *error)
{
    bool wanted = false;
    for (unsigned i = 0; i < NAMES; i++)
        wanted |= bench_wants(bench, names[i]);
    if (!wanted) return STATUS_OK;
    const size_t bytes = REQUEST_KEYS * ROW_BYTES;
    struct exchange exchange = {.requests = bench->quick ? 6 : REQUESTS,
                                .row_count = bench->quick ? 40000 : 4000000};
    char bare_endpoint[128];
    const pid_t child = bare_end_start(bare_endpoint, sizeof bare_endpoint);
    exchange.keys = malloc(exchange.requests * (size_t)REQUEST_KEYS * sizeof *exchange.keys);
    exchange.grads = malloc(bytes);
    CHECK(exchange.keys != NULL && exchange.grads != NULL);
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        exchange.values[i] = calloc(1, bytes);
        CHECK(exchange.values[i] != NULL);
    }
    enum status status = measure_with_server(bench, &exchange, bare_endpoint, error);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    transport_shutdown();
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        free(exchange.values[i]);
    free(exchange.keys);
    free(exchange.grads);
    return status;
}
