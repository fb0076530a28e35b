/* Clients, shard threads and the coordinator over real sockets in one process. */
#include "cluster_fixture.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/rng.h"
#include "ps/client/control.h"
#include "ps/table_spec.h"

enum { KEYS = 1000, DIM = 16 };

static void fill_keys(uint64_t *keys)
{
    for (uint64_t i = 0; i < KEYS; i++) {
        keys[i] = rng_mix(i);
    }
}

/* One push of 1 and more pushes of parts of the keys; the rows must be the sums. */
static void check_tables(struct cluster *cluster)
{
    struct client *client = cluster_client(cluster, false, AWAIT_NS);
    uint32_t table = cluster_sparse(client, "rows", DIM);
    static uint64_t keys[KEYS];
    static float grads[KEYS][DIM], sums[KEYS][DIM], rows[KEYS][DIM];
    memset(sums, 0, sizeof sums);
    fill_keys(keys);
    for (unsigned step = 1; step <= 10; step++) {
        uint32_t count = KEYS / step;
        uint64_t ticket;
        for (uint32_t i = 0; i < count; i++) {
            for (unsigned j = 0; j < DIM; j++) {
                grads[i][j] = (float)(i * step + j);
                sums[i][j] += grads[i][j];
            }
        }
        assert_int_equal(client_push(client, table, keys, count, &grads[0][0], 1.0f, &ticket, NULL),
                         STATUS_OK);
    }
    assert_int_equal(client_flush(client, NULL), STATUS_OK);
    cluster_pull(client, table, keys, KEYS, &rows[0][0]);
    for (uint32_t i = 0; i < KEYS; i++) {
        for (unsigned j = 0; j < DIM; j++) {
            assert_true(rows[i][j] == -sums[i][j]);
        }
    }

    Anthill__OptimizerSpec optimizer = ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer.rate = 1.0f;
    Anthill__TensorSpec tensor = ANTHILL__TENSOR_SPEC__INIT;
    tensor.name = "weight";
    tensor.rows = 300;
    tensor.cols = 301;
    Anthill__TensorSpec *tensors[1] = {&tensor};
    Anthill__TableSpec spec = ANTHILL__TABLE_SPEC__INIT;
    spec.name = "model";
    spec.kind = ANTHILL__TABLE_KIND__TABLE_DENSE;
    spec.optimizer = &optimizer;
    spec.n_tensors = 1;
    spec.tensors = tensors;
    struct error error = {0};
    uint32_t model;
    if (client_table(client, &spec, &model, &error) != STATUS_OK) fail_msg("%s", error.text);
    uint32_t found;
    assert_non_null(client_table_spec(client, "model", &found));
    assert_int_equal(found, model);
    assert_null(client_table_spec(client, "nothing", &found));
    enum { COUNT = 300 * 301 };
    float *values = malloc(COUNT * sizeof *values);
    for (uint32_t i = 0; i < COUNT; i++) {
        values[i] = (float)i;
    }
    uint64_t ticket;
    assert_int_equal(client_push_dense(client, model, values, 0.5f, &ticket, NULL), STATUS_OK);
    assert_int_equal(client_wait(client, ticket, NULL), STATUS_OK);
    assert_int_equal(client_pull_dense(client, model, values, &ticket, NULL), STATUS_OK);
    assert_int_equal(client_wait(client, ticket, NULL), STATUS_OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(values[i] == -0.5f * (float)i);
    }
    free(values);
    client_close(client);
}

static void tables_over_ipc_hold_what_was_pushed(void **state)
{
    (void)state;
    struct cluster cluster = {.shards_per_server = 2};
    cluster_start(&cluster, false);
    check_tables(&cluster);
    cluster_end(&cluster);
}

static void tables_over_tcp_hold_what_was_pushed(void **state)
{
    (void)state;
    struct cluster cluster = {0};
    cluster_start(&cluster, true);
    check_tables(&cluster);
    cluster_end(&cluster);
}

/* ---- shared memory -------------------------------------------------------------------------- */

/* How often memory of clients is mapped into this process, which has all shards. */
static unsigned mapping_count(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    char line[512];
    unsigned count = 0;
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "memfd:anthill") != NULL;
    fclose(maps);
    return count;
}

static void await_mappings(unsigned expected)
{
    uint64_t end_ns = clock_now_ns() + AWAIT_NS;
    while (mapping_count() != expected) {
        if (clock_now_ns() > end_ns) fail_msg("%u are mapped", mapping_count());
        poll(NULL, 0, 20);
    }
}

static void rows_go_through_memory_that_client_and_shards_share(void **state)
{
    (void)state;
    enum { BUFFERS = 3, STEPS = 30 };
    struct cluster cluster = {.shards_per_server = 2};
    cluster_start(&cluster, false);
    struct client *client = cluster_client(&cluster, false, AWAIT_NS);
    uint32_t table = cluster_sparse(client, "rows", DIM);
    assert_int_equal(mapping_count(), 1 + 2 * SERVERS);
    static uint64_t keys[KEYS];
    static float sums[KEYS * DIM];
    memset(sums, 0, sizeof sums);
    fill_keys(keys);
    float *grads[BUFFERS], *rows = client_memory_alloc(client, sizeof sums);
    uint64_t tickets[BUFFERS] = {0};
    for (unsigned i = 0; i < BUFFERS; i++)
        grads[i] = client_memory_alloc(client, sizeof sums);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned place = step % BUFFERS;
        uint32_t count = KEYS - step;
        assert_int_equal(client_wait(client, tickets[place], NULL), STATUS_OK);
        for (uint32_t i = 0; i < count * DIM; i++) {
            grads[place][i] = (float)(i % 100 + step);
            sums[i] += grads[place][i];
        }
        assert_int_equal(
            client_push(client, table, keys, count, grads[place], 1.0f, &tickets[place], NULL),
            STATUS_OK);
    }
    assert_int_equal(client_flush(client, NULL), STATUS_OK);
    cluster_pull(client, table, keys, KEYS, rows);
    for (uint32_t i = 0; i < KEYS * DIM; i++)
        assert_true(rows[i] == -sums[i]);
    /* The same rows by frames. */
    static float others[KEYS * DIM];
    cluster_pull(client, table, keys, KEYS, others);
    assert_memory_equal(rows, others, sizeof others);
    for (unsigned i = 0; i < BUFFERS; i++)
        client_memory_free(client, grads[i]);
    client_memory_free(client, rows);
    client_memory_free(client, NULL);
    client_close(client);
    await_mappings(0);
    cluster_end(&cluster);
}

/* Pulls and pushes through shared memory until it is killed; says so when it is at it. */
__attribute__((noreturn)) static void use_memory_until_killed(int coordinator, int ready)
{
    enum { IN_FLIGHT = 4 };
    char endpoint[128] = "";
    alarm(120);
    if (read(coordinator, endpoint, sizeof endpoint - 1) <= 0) _exit(1);
    struct client_options options = {
        .coordinator = endpoint, .name = "killed", .timeout_ns = AWAIT_NS};
    struct client *client;
    if (client_open(&client, &options, NULL) != STATUS_OK) _exit(2);
    uint32_t table = cluster_sparse(client, "rows", DIM);
    static uint64_t keys[KEYS];
    fill_keys(keys);
    float *memory[IN_FLIGHT];
    uint64_t tickets[IN_FLIGHT] = {0};
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        memory[i] = client_memory_alloc(client, KEYS * DIM * sizeof(float));
    for (unsigned step = 0;; step++) {
        unsigned place = step % IN_FLIGHT;
        if (client_wait(client, tickets[place], NULL) != STATUS_OK) _exit(3);
        enum status status = place % 2 == 0 ? client_push(client, table, keys, KEYS, memory[place],
                                                          1.0f, &tickets[place], NULL)
                                            : client_pull(client, table, keys, KEYS, memory[place],
                                                          false, &tickets[place], NULL);
        if (status != STATUS_OK) _exit(4);
        if (step == 100 && write(ready, "x", 1) != 1) _exit(5);
    }
}

static void a_client_that_is_killed_leaves_nothing_behind(void **state)
{
    (void)state;
    int endpoint[2], ready[2];
    assert_int_equal(pipe(endpoint), 0);
    assert_int_equal(pipe(ready), 0);
    transport_shutdown(); /* a child has no use for its threads */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) use_memory_until_killed(endpoint[0], ready[1]);
    struct cluster cluster = {0};
    cluster_start(&cluster, false);
    size_t bytes = strlen(cluster.coordinator);
    assert_int_equal(write(endpoint[1], cluster.coordinator, bytes), bytes);
    close(ready[1]);
    char said;
    assert_int_equal(read(ready[0], &said, 1), 1);
    assert_int_equal(mapping_count(), SERVERS);
    assert_int_equal(kill(child, SIGKILL), 0);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    struct client *client = cluster_client(&cluster, false, AWAIT_NS);
    uint32_t table = cluster_sparse(client, "rows", DIM);
    static uint64_t keys[KEYS];
    fill_keys(keys);
    float *rows = client_memory_alloc(client, KEYS * DIM * sizeof *rows);
    cluster_pull(client, table, keys, KEYS, rows);
    cluster_push(client, table, keys, KEYS, rows);
    await_mappings(1 + SERVERS);
    client_close(client);
    close(endpoint[0]);
    close(endpoint[1]);
    close(ready[0]);
    cluster_end(&cluster);
}

static void a_server_that_comes_back_maps_the_memory_again(void **state)
{
    (void)state;
    struct cluster cluster = {0};
    cluster_start(&cluster, false);
    struct client *client = cluster_client(&cluster, false, AWAIT_NS);
    uint32_t table = cluster_sparse(client, "rows", 1);
    static uint64_t keys[KEYS];
    fill_keys(keys);
    float *ones = client_memory_alloc(client, KEYS * sizeof *ones);
    float *rows = client_memory_alloc(client, KEYS * sizeof *rows);
    for (unsigned i = 0; i < KEYS; i++)
        ones[i] = 1.0f;
    cluster_push(client, table, keys, KEYS, ones);
    cluster_end_server(&cluster, 1);
    assert_int_equal(mapping_count(), SERVERS);
    uint64_t push, pull;
    assert_int_equal(client_push(client, table, keys, KEYS, ones, 1.0f, &push, NULL), STATUS_OK);
    assert_int_equal(client_pull(client, table, keys, KEYS, rows, false, &pull, NULL), STATUS_OK);
    cluster_start_server(&cluster, 1);
    assert_int_equal(client_wait(client, push, NULL), STATUS_OK);
    assert_int_equal(client_wait(client, pull, NULL), STATUS_OK);
    cluster_pull(client, table, keys, KEYS, rows);
    for (unsigned i = 0; i < KEYS; i++)
        assert_true(rows[i] == (slot_of(keys[i], SLOTS) < SLOTS / SERVERS ? -2.0f : -1.0f));
    assert_int_equal(mapping_count(), 1 + SERVERS);
    client_close(client);
    cluster_end(&cluster);
}

/* ---- threads -------------------------------------------------------------------------------- */

struct pusher {
    struct cluster *cluster;
    pthread_t thread;
    enum status status;
    struct error error;
};

static void *push_ones(void *context)
{
    struct pusher *pusher = context;
    struct client_options options = {
        .coordinator = pusher->cluster->coordinator, .name = "pusher", .timeout_ns = AWAIT_NS};
    struct client *client = NULL;
    pusher->status = client_open(&client, &options, &pusher->error);
    Anthill__OptimizerSpec optimizer = ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer.rate = 1.0f;
    Anthill__TableSpec spec = ANTHILL__TABLE_SPEC__INIT;
    spec.name = "rows";
    spec.dim = DIM;
    spec.optimizer = &optimizer;
    uint32_t table = 0;
    uint64_t keys[KEYS], ticket;
    float ones[KEYS * DIM];
    fill_keys(keys);
    for (unsigned i = 0; i < KEYS * DIM; i++) {
        ones[i] = 1.0f;
    }
    if (pusher->status == STATUS_OK) {
        pusher->status = client_table(client, &spec, &table, &pusher->error);
    }
    for (unsigned i = 0; i < 200 && pusher->status == STATUS_OK; i++) {
        pusher->status =
            client_push(client, table, keys, KEYS, ones, 1.0f, &ticket, &pusher->error);
    }
    if (pusher->status == STATUS_OK) pusher->status = client_flush(client, &pusher->error);
    client_close(client);
    return NULL;
}

static void pushes_of_several_clients_add_up(void **state)
{
    (void)state;
    enum { PUSHERS = 4 };
    struct cluster cluster = {0};
    cluster_start(&cluster, false);
    struct pusher pushers[PUSHERS];
    for (unsigned i = 0; i < PUSHERS; i++) {
        pushers[i] = (struct pusher){.cluster = &cluster};
        assert_int_equal(pthread_create(&pushers[i].thread, NULL, push_ones, &pushers[i]), 0);
    }
    for (unsigned i = 0; i < PUSHERS; i++) {
        pthread_join(pushers[i].thread, NULL);
    }
    for (unsigned i = 0; i < PUSHERS; i++) {
        if (pushers[i].status != STATUS_OK) fail_msg("%s", pushers[i].error.text);
    }
    struct client *client = cluster_client(&cluster, false, AWAIT_NS);
    uint32_t table = cluster_sparse(client, "rows", DIM);
    uint64_t keys[KEYS];
    static float rows[KEYS][DIM];
    fill_keys(keys);
    cluster_pull(client, table, keys, KEYS, &rows[0][0]);
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_true(rows[i][0] == -200.0f * PUSHERS && rows[i][DIM - 1] == -200.0f * PUSHERS);
    }
    client_close(client);
    cluster_end(&cluster);
}

/* ---- bad peers ------------------------------------------------------------------------------ */

/* A connection to server 0 that says what it likes. */
static struct transport *raw_peer(const struct cluster *cluster)
{
    char endpoint[160];
    snprintf(endpoint, sizeof endpoint, "%s-shard-0", cluster->server_endpoint[0]);
    struct transport *transport;
    assert_int_equal(transport_connect(&transport, endpoint, NULL), STATUS_OK);
    return transport;
}

static void raw_send(struct transport *transport, Anthill__Envelope *envelope, unsigned payloads,
                     size_t key_bytes, size_t grad_bytes)
{
    struct frame frames[2] = {frame_create(key_bytes), frame_create(grad_bytes)};
    memset(frames[0].data, 0, key_bytes);
    memset(frames[1].data, 0, grad_bytes);
    struct message message;
    assert_int_equal(wire_pack(&message, 0, envelope, frames, payloads), STATUS_OK);
    for (unsigned i = payloads; i < 2; i++) {
        frame_release(&frames[i]);
    }
    assert_int_equal(transport_send(transport, &message), STATUS_OK);
}

static struct message raw_receive(struct transport *transport)
{
    struct message message;
    uint64_t end_ns = clock_now_ns() + AWAIT_NS;
    while (transport_receive(transport, &message) != STATUS_OK) {
        assert_true(clock_now_ns() < end_ns);
        transport_poll(&transport, 1, 100 * NS_PER_MS);
    }
    return message;
}

static void expect_error(struct transport *transport, enum status expected, const char *text)
{
    struct message message = raw_receive(transport);
    struct error error = {0};
    assert_int_equal(wire_error(message.envelope, &error), expected);
    if (strstr(error.text, text) == NULL) fail_msg("%s", error.text);
    wire_message_deinit(&message);
}

/* Opens a session that nobody else has. */
static void raw_hello(struct transport *transport, uint64_t session)
{
    Anthill__Hello hello = ANTHILL__HELLO__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.map_version = 1;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    raw_send(transport, &envelope, 0, 8, 8);
    struct message message = raw_receive(transport);
    assert_int_equal(message.envelope->body_case, ANTHILL__ENVELOPE__BODY_HELLO_REPLY);
    wire_message_deinit(&message);
}

static void nonsense_gets_an_error_and_others_go_on(void **state)
{
    (void)state;
    struct cluster cluster = {0};
    cluster_start(&cluster, false);
    struct client *client = cluster_client(&cluster, false, AWAIT_NS);
    uint32_t table = cluster_sparse(client, "rows", DIM);
    struct transport *raw = raw_peer(&cluster);
    Anthill__Pull pull = ANTHILL__PULL__INIT;
    Anthill__Push push = ANTHILL__PUSH__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = 999;
    envelope.map_version = 1;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    pull.key_count = 1;
    raw_send(raw, &envelope, 1, 8, 0);
    expect_error(raw, STATUS_NOT_FOUND, "session 999");
    raw_hello(raw, 999);

    pull.table = 7;
    raw_send(raw, &envelope, 1, 8, 0);
    expect_error(raw, STATUS_INVALID, "table 7");
    pull.table = 0;
    raw_send(raw, &envelope, 1, 7, 0); /* short keys */
    expect_error(raw, STATUS_INVALID, "7 bytes");
    pull.key_count = UINT32_MAX;
    raw_send(raw, &envelope, 1, 8, 0);
    expect_error(raw, STATUS_INVALID, "4294967295 keys");

    envelope.body_case = ANTHILL__ENVELOPE__BODY_PUSH;
    envelope.push = &push;
    envelope.sequence = 1;
    push.key_count = 1;
    push.rate_scale = 1;
    raw_send(raw, &envelope, 2, 8, (DIM - 1) * sizeof(float)); /* rows of another dim */
    expect_error(raw, STATUS_INVALID, "rows");
    raw_send(raw, &envelope, 1, 8, 0);
    expect_error(raw, STATUS_INVALID, "payload");

    struct message garbage = {.header = frame_create(100)};
    memset(garbage.header.data, 0xa5, 100);
    assert_int_equal(transport_send(raw, &garbage), STATUS_OK);
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEAVE_REPLY;
    Anthill__LeaveReply leave = ANTHILL__LEAVE_REPLY__INIT;
    envelope.leave_reply = &leave;
    raw_send(raw, &envelope, 0, 8, 8);
    expect_error(raw, STATUS_INVALID, "none that a shard answers");

    uint64_t keys[3] = {1, 2, 3};
    float rows[3][DIM];
    cluster_pull(client, table, keys, 3, &rows[0][0]);
    assert_true(rows[2][DIM - 1] == 0.0f);
    transport_close(raw);
    client_close(client);
    cluster_end(&cluster);
}

static void a_repeated_push_is_applied_once(void **state)
{
    (void)state;
    struct cluster cluster = {0};
    cluster_start(&cluster, false);
    struct client *client = cluster_client(&cluster, false, AWAIT_NS);
    uint32_t table = cluster_sparse(client, "rows", 1);
    uint64_t key = 0; /* one that server 0 owns */
    while (slot_of(key, SLOTS) >= SLOTS / SERVERS) {
        key++;
    }
    struct transport *raw = raw_peer(&cluster);
    raw_hello(raw, 999);
    Anthill__Push push = ANTHILL__PUSH__INIT;
    push.key_count = 1;
    push.rate_scale = 1;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = 999;
    envelope.map_version = 1;
    envelope.sequence = 1;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PUSH;
    envelope.push = &push;
    for (unsigned i = 0; i < 3; i++) {
        struct frame frames[2] = {frame_create(8), frame_create(4)};
        memcpy(frames[0].data, &key, 8);
        memcpy(frames[1].data, &(float){5.0f}, 4);
        struct message message;
        assert_int_equal(wire_pack(&message, 0, &envelope, frames, 2), STATUS_OK);
        assert_int_equal(transport_send(raw, &message), STATUS_OK);
        message = raw_receive(raw);
        assert_int_equal(message.envelope->body_case, ANTHILL__ENVELOPE__BODY_PUSH_REPLY);
        assert_int_equal(message.envelope->push_reply->repeated_push, i > 0);
        wire_message_deinit(&message);
    }
    float row = 0;
    cluster_pull(client, table, &key, 1, &row);
    assert_true(row == -5.0f);
    transport_close(raw);
    client_close(client);
    cluster_end(&cluster);
}

/* ---- loss of processes ---------------------------------------------------------------------- */

static void a_server_that_has_gone_is_named(void **state)
{
    (void)state;
    struct cluster cluster = {0};
    cluster_start(&cluster, true);
    struct client *client = cluster_client(&cluster, false, NS_PER_S);
    uint32_t table = cluster_sparse(client, "rows", DIM);
    cluster_end_server(&cluster, 1);
    uint64_t keys[KEYS], ticket;
    static float rows[KEYS][DIM];
    fill_keys(keys);
    struct error error = {0};
    uint64_t start_ns = clock_now_ns();
    assert_int_equal(client_pull(client, table, keys, KEYS, &rows[0][0], false, &ticket, &error),
                     STATUS_OK);
    assert_int_equal(client_wait(client, ticket, &error), STATUS_UNAVAILABLE);
    assert_non_null(strstr(error.text, "server 1 shard 0 at tcp://127.0.0.1:"));
    uint64_t waited_ns = clock_now_ns() - start_ns;
    assert_true(waited_ns >= NS_PER_S && waited_ns < 10 * NS_PER_S);
    assert_int_equal(client_poll(client, &error), STATUS_UNAVAILABLE);
    client_close(client);
    cluster_end(&cluster);
}

static void a_server_that_comes_back_empty_is_used_again(void **state)
{
    (void)state;
    struct cluster cluster = {0};
    cluster_start(&cluster, true);
    struct client *client = cluster_client(&cluster, false, AWAIT_NS);
    uint32_t table = cluster_sparse(client, "rows", 1);
    uint64_t keys[KEYS];
    static float ones[KEYS], rows[KEYS];
    fill_keys(keys);
    for (unsigned i = 0; i < KEYS; i++) {
        ones[i] = 1.0f;
    }
    cluster_push(client, table, keys, KEYS, ones);
    cluster_end_server(&cluster, 1);
    cluster_start_server(&cluster, 1);
    cluster_push(client, table, keys, KEYS, ones);
    cluster_pull(client, table, keys, KEYS, rows);
    unsigned kept = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        bool owned_by_first = slot_of(keys[i], SLOTS) < SLOTS / SERVERS;
        assert_true(rows[i] == (owned_by_first ? -2.0f : -1.0f));
        kept += owned_by_first;
    }
    assert_true(kept > KEYS / 4 && kept < KEYS - KEYS / 4);
    client_close(client);
    cluster_end(&cluster);
}

static void a_server_that_comes_back_has_the_rows_of_its_checkpoint(void **state)
{
    (void)state;
    struct cluster cluster = {.checkpoint_every_ns = 50 * NS_PER_MS};
    cluster_start(&cluster, true);
    struct client *client = cluster_client(&cluster, true, AWAIT_NS);
    uint32_t table = cluster_sparse(client, "rows", 1);
    struct control *control;
    struct error error = {0};
    assert_int_equal(
        control_open(&control, cluster.coordinator, client_session(client), AWAIT_NS, &error),
        STATUS_OK);
    uint64_t keys[KEYS];
    static float ones[KEYS], rows[KEYS];
    fill_keys(keys);
    for (unsigned i = 0; i < KEYS; i++) {
        ones[i] = 1.0f;
    }
    cluster_push(client, table, keys, KEYS, ones);
    /* Checkpoints are for progress: leases are taken and done until two more are complete. */
    unsigned long before = atomic_load(&cluster.checkpoints_done);
    uint64_t end_ns = clock_now_ns() + AWAIT_NS;
    while (atomic_load(&cluster.checkpoints_done) < before + 2) {
        assert_true(clock_now_ns() < end_ns);
        Anthill__LeaseRequest request = ANTHILL__LEASE_REQUEST__INIT;
        Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
        envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_REQUEST;
        envelope.lease_request = &request;
        struct message reply;
        if (control_call(control, &envelope, &reply, &error) != STATUS_OK) {
            fail_msg("%s", error.text);
        }
        Anthill__LeaseDone done = ANTHILL__LEASE_DONE__INIT;
        done.lease = reply.envelope->lease_reply->lease;
        wire_message_deinit(&reply);
        envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_DONE;
        envelope.lease_done = &done;
        if (control_call(control, &envelope, &reply, &error) != STATUS_OK) {
            fail_msg("%s", error.text);
        }
        wire_message_deinit(&reply);
    }
    cluster_end_server(&cluster, 1);
    cluster_start_server(&cluster, 1);
    cluster_pull(client, table, keys, KEYS, rows);
    for (unsigned i = 0; i < KEYS; i++) {
        assert_true(rows[i] == -1.0f);
    }
    control_close(control);
    client_close(client);

    char step_dir[160];
    snprintf(step_dir, sizeof step_dir, "%s/step-%llu", cluster.checkpoints,
             (unsigned long long)checkpoint_latest(cluster.checkpoints));
    if (client_open_checkpoint(&client, step_dir, &error) != STATUS_OK) fail_msg("%s", error.text);
    const Anthill__TableSpec *spec = client_table_spec(client, "rows", &table);
    assert_non_null(spec);
    assert_int_equal(spec->dim, 1);
    memset(rows, 0, sizeof rows);
    cluster_pull(client, table, keys, KEYS, rows);
    for (unsigned i = 0; i < KEYS; i++) {
        assert_true(rows[i] == -1.0f);
    }
    client_close(client);
    cluster_end(&cluster);
    assert_int_equal(client_open_checkpoint(&client, step_dir, &error), STATUS_NOT_FOUND);
    assert_null(client);
}

/* ---- starts that fail ----------------------------------------------------------------------- */

static void a_server_without_a_coordinator_gives_up(void **state)
{
    (void)state;
    struct server_options options = {.shard_count = 2,
                                     .endpoint = "tcp://127.0.0.1:*",
                                     .coordinator = "tcp://127.0.0.1:1",
                                     .checkpoint_dir = "/nonexistent",
                                     .timeout_ns = 300 * NS_PER_MS};
    struct server *server;
    struct error error = {0};
    assert_int_equal(server_start(&server, &options, &error), STATUS_OK);
    assert_int_equal(server_join(server, &error), STATUS_UNAVAILABLE);
    assert_non_null(strstr(error.text, "coordinator at tcp://127.0.0.1:1"));
}

static void a_server_whose_port_is_in_use_says_so(void **state)
{
    (void)state;
    struct transport *other;
    assert_int_equal(transport_listen(&other, "tcp://127.0.0.1:*", NULL), STATUS_OK);
    struct server_options options = {.shard_count = 1,
                                     .endpoint = transport_endpoint(other),
                                     .coordinator = "tcp://127.0.0.1:1",
                                     .checkpoint_dir = "/nonexistent",
                                     .timeout_ns = AWAIT_NS};
    struct server *server;
    struct error error = {0};
    assert_int_equal(server_start(&server, &options, &error), STATUS_OK);
    assert_int_equal(server_join(server, &error), STATUS_UNAVAILABLE);
    assert_non_null(strstr(error.text, "address already in use"));
    assert_non_null(strstr(error.text, transport_endpoint(other)));
    transport_close(other);
}

static void a_run_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct client_options options = {.coordinator = "ipc:///tmp/anthill-no-such-run",
                                     .name = "test",
                                     .timeout_ns = NS_PER_S / 4};
    struct client *client;
    struct error error = {0};
    assert_int_equal(client_open(&client, &options, &error), STATUS_UNAVAILABLE);
    assert_null(client);
    assert_non_null(strstr(error.text, options.coordinator));

    struct control *control;
    assert_int_equal(control_open(&control, options.coordinator, 0, NS_PER_S / 4, &error),
                     STATUS_OK);
    Anthill__StatusRequest request = ANTHILL__STATUS_REQUEST__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_STATUS_REQUEST;
    envelope.status_request = &request;
    struct message reply;
    assert_int_equal(control_call(control, &envelope, &reply, &error), STATUS_UNAVAILABLE);
    assert_non_null(strstr(error.text, options.coordinator));
    control_close(control);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_over_ipc_hold_what_was_pushed),
        cmocka_unit_test(tables_over_tcp_hold_what_was_pushed),
        cmocka_unit_test(rows_go_through_memory_that_client_and_shards_share),
        cmocka_unit_test(a_client_that_is_killed_leaves_nothing_behind),
        cmocka_unit_test(a_server_that_comes_back_maps_the_memory_again),
        cmocka_unit_test(pushes_of_several_clients_add_up),
        cmocka_unit_test(nonsense_gets_an_error_and_others_go_on),
        cmocka_unit_test(a_repeated_push_is_applied_once),
        cmocka_unit_test(a_server_that_has_gone_is_named),
        cmocka_unit_test(a_server_that_comes_back_empty_is_used_again),
        cmocka_unit_test(a_server_that_comes_back_has_the_rows_of_its_checkpoint),
        cmocka_unit_test(a_server_without_a_coordinator_gives_up),
        cmocka_unit_test(a_server_whose_port_is_in_use_says_so),
        cmocka_unit_test(a_run_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, cluster_setup, cluster_teardown);
}
