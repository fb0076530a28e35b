#include "tests/bench/bare_exchange.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/wire.h"
#include "tests/support/process.h"

#define PART_BYTES (1u << 20) /* as ps/client/client_request.c: keys and values together */
#define RING_PARTS 20u        /* as much memory as those under way need */
#define WAIT_NS    (10 * NS_PER_MS)
#define SILENT_NS  (60 * NS_PER_S)

static void send_kept(struct transport *transport, struct message *message)
{
    while (transport_send(transport, message) == STATUS_BUSY)
        transport_poll(&transport, 1, NS_PER_MS);
}

/* Written once: memory that never was is one page of zeros, which stays in the cache. */
static char *rows_alloc(void)
{
    char *rows = malloc((size_t)RING_PARTS * PART_BYTES);
    CHECK(rows != NULL);
    memset(rows, 1, (size_t)RING_PARTS * PART_BYTES);
    return rows;
}

/* ---- the other ends ---------------------------------------------------------------------------
 */

/* A pull's clock says how many bytes its answer has. */
static void answer(struct transport *transport, const struct message *request, void *rows)
{
    const bool pull = request->envelope->body_case == ANTHILL__ENVELOPE__BODY_PULL;
    Anthill__PullReply pull_reply = ANTHILL__PULL_REPLY__INIT;
    Anthill__PushReply push_reply = ANTHILL__PUSH_REPLY__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    struct frame frame = {.data = rows};
    envelope.request = request->envelope->request;
    if (pull) {
        envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL_REPLY;
        envelope.pull_reply = &pull_reply;
        frame.bytes = request->envelope->pull->clock;
    } else {
        envelope.body_case = ANTHILL__ENVELOPE__BODY_PUSH_REPLY;
        envelope.push_reply = &push_reply;
    }
    struct message reply;
    CHECK(wire_pack(&reply, request->peer, &envelope, &frame, pull ? 1 : 0) == STATUS_OK);
    send_kept(transport, &reply);
}

/* Until the process is killed. */
static void *end_main(void *context)
{
    struct transport *transport = context;
    struct message message;
    char *rows = rows_alloc();
    for (uint64_t answers = 0;;) {
        transport_poll(&transport, 1, WAIT_NS);
        while (transport_receive(transport, &message) == STATUS_OK) {
            answer(transport, &message, rows + answers++ % RING_PARTS * PART_BYTES);
            wire_message_deinit(&message);
        }
    }
    return NULL;
}

__attribute__((noreturn)) static void end_process(const char *folder, unsigned process,
                                                  unsigned threads, int endpoint_fd)
{
    struct transport *transports[BARE_ENDS_MAX];
    struct error error = {.text = ""};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 0; i < threads; i++) {
        char endpoint[128] = "tcp://127.0.0.1:*";
        if (folder[0] != '\0')
            snprintf(endpoint, sizeof endpoint, "ipc://%s/%u-%u", folder, process, i);
        CHECK(transport_listen(&transports[i], endpoint, &error) == STATUS_OK);
        dprintf(endpoint_fd, "%s\n", transport_endpoint(transports[i]));
    }
    close(endpoint_fd);
    for (unsigned i = 1; i < threads; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, end_main, transports[i]) == 0);
    }
    end_main(transports[0]);
    abort();
}

static void start_process(struct bare_ends *ends, unsigned threads)
{
    int pipe_ends[2];
    CHECK(pipe(pipe_ends) == 0);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(pipe_ends[0]);
        end_process(ends->folder, ends->process_count, threads, pipe_ends[1]);
    }
    close(pipe_ends[1]);
    FILE *lines = fdopen(pipe_ends[0], "r");
    CHECK(lines != NULL);
    for (unsigned i = 0; i < threads; i++) {
        char *endpoint = ends->endpoints[ends->count++];
        CHECK(fgets(endpoint, sizeof ends->endpoints[0], lines) != NULL);
        endpoint[strcspn(endpoint, "\n")] = '\0';
    }
    fclose(lines);
    ends->processes[ends->process_count++] = child;
}

void bare_ends_start(struct bare_ends *ends, bool ipc, unsigned processes, unsigned threads)
{
    *ends = (struct bare_ends){.process_count = 0};
    CHECK(processes <= BARE_PROCESSES_MAX && processes * threads <= BARE_ENDS_MAX);
    if (ipc) temporary_folder(ends->folder);
    for (unsigned i = 0; i < processes; i++)
        start_process(ends, threads);
}

void bare_ends_stop(struct bare_ends *ends)
{
    for (unsigned i = 0; i < ends->process_count; i++) {
        kill(ends->processes[i], SIGKILL);
        waitpid(ends->processes[i], NULL, 0);
    }
    if (ends->folder[0] != '\0') remove_folder(ends->folder);
    *ends = (struct bare_ends){.process_count = 0};
}

/* ---- the client -------------------------------------------------------------------------------
 */

enum status bare_client_open(struct bare_client *client, const struct bare_ends *ends,
                             struct error *error)
{
    enum status status = STATUS_OK;
    *client = (struct bare_client){.rows = rows_alloc()};
    for (; client->count < ends->count && status == STATUS_OK; client->count++) {
        struct transport **transport = &client->transports[client->count];
        status = transport_connect(transport, ends->endpoints[client->count], error);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

void bare_client_close(struct bare_client *client)
{
    for (unsigned i = 0; i < client->count; i++)
        transport_close(client->transports[i]);
    free(client->rows);
    *client = (struct bare_client){.count = 0};
}

static void send_part(struct bare_client *client, const struct bare_plan *plan, unsigned end,
                      unsigned request, uint32_t first, uint32_t count)
{
    Anthill__Pull pull = ANTHILL__PULL__INIT;
    Anthill__Push push = ANTHILL__PUSH__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    pull.key_count = push.key_count = count;
    pull.clock = count * plan->row_bytes;
    envelope.request = request;
    if (plan->push) {
        envelope.body_case = ANTHILL__ENVELOPE__BODY_PUSH;
        envelope.push = &push;
    } else {
        envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
        envelope.pull = &pull;
    }
    uint64_t *keys = plan->stream->keys + (size_t)request * plan->stream->keys_max + first;
    char *rows = client->rows + client->parts++ % RING_PARTS * PART_BYTES;
    struct frame frames[] = {{.data = keys, .bytes = count * sizeof(uint64_t)},
                             {.data = rows, .bytes = count * plan->row_bytes}};
    struct message message;
    CHECK(wire_pack(&message, 0, &envelope, frames, plan->push ? 2 : 1) == STATUS_OK);
    send_kept(client->transports[end], &message);
}

/* Returns how many parts that is. */
static unsigned send_request(struct bare_client *client, const struct bare_plan *plan,
                             unsigned request)
{
    const uint32_t part_keys = (uint32_t)(PART_BYTES / (plan->row_bytes + sizeof(uint64_t)));
    const uint64_t keys = plan->stream->counts[request];
    unsigned parts = 0;
    for (unsigned end = 0; end < client->count; end++) {
        uint32_t first = (uint32_t)(keys * end / client->count);
        const uint32_t last = (uint32_t)(keys * (end + 1) / client->count);
        while (first < last) {
            const uint32_t count = last - first < part_keys ? last - first : part_keys;
            send_part(client, plan, end, request, first, count);
            first += count;
            parts++;
        }
    }
    return parts;
}

/* Takes what has arrived off the requests' counts; false: nothing has. */
static bool receive(struct bare_client *client, const struct bare_plan *plan, unsigned *parts)
{
    struct message message;
    bool received = false;
    for (unsigned end = 0; end < client->count; end++) {
        while (transport_receive(client->transports[end], &message) == STATUS_OK) {
            parts[message.envelope->request % plan->in_flight]--;
            wire_message_deinit(&message);
            received = true;
        }
    }
    return received;
}

enum status bare_client_run(struct bare_client *client, const struct bare_plan *plan,
                            struct latencies *latencies, struct error *error)
{
    unsigned parts[BARE_IN_FLIGHT_MAX], sent = 0, done = 0; /* parts: not answered, by request */
    uint64_t began_ns[BARE_IN_FLIGHT_MAX], heard_ns = clock_now_ns();
    CHECK(plan->in_flight <= BARE_IN_FLIGHT_MAX);
    while (done < plan->stream->requests) {
        for (; sent < plan->stream->requests && sent < done + plan->in_flight; sent++) {
            began_ns[sent % plan->in_flight] = clock_now_ns();
            parts[sent % plan->in_flight] = send_request(client, plan, sent);
        }
        if (receive(client, plan, parts)) {
            heard_ns = clock_now_ns();
        } else if (clock_now_ns() - heard_ns > SILENT_NS) {
            return error_set(error, STATUS_UNAVAILABLE, "the bare exchange stands still");
        } else {
            transport_poll(client->transports, client->count, WAIT_NS);
        }
        for (; done < sent && parts[done % plan->in_flight] == 0; done++)
            latencies_add(latencies, seconds_between(began_ns[done % plan->in_flight], heard_ns));
    }
    return STATUS_OK;
}
