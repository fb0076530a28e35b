/* The client's state machine and real shards over a simulated network: virtual time, and every
 * loss, repeat and delay from one seed. Rows start as zeros and SGD has rate 1, so a row is minus
 * the sum of its integer gradients: exactly-once is an exact check. */
#include <math.h>

#include "ps_fixture.h"

#include "common/clock.h"
#include "ps/client/client_core.h"
#include "ps/shared_block.h"
#include "ps/table_spec.h"

enum { SHARDS = 2, CLIENTS_MAX = 3, SLOTS = 16, DIM = 3, KEYS = 50 };
enum { MEMORY_BYTES = 1 << 20, HELD_MAX = 512, CANARY = 0x5a, CANARY_STEPS = 50 };

/* Shared memory that a request has, or had: for a while after its end the test has it, and nobody
 * else may write there. */
struct held {
    struct client_core *core;
    uint64_t ticket;
    unsigned char *memory;
    size_t bytes;
    unsigned steps; /* since the end; 0: under way */
};

struct packet {
    uint64_t due_ns;
    unsigned client;
    uint32_t other; /* shard or CLIENT_COORDINATOR */
    bool to_client;
    struct message message;
};

struct net {
    struct rng rng;
    uint64_t now_ns;
    unsigned loss_percent, repeat_percent;
    uint64_t delay_ns;   /* at most */
    uint64_t timeout_ns; /* of clients */
    struct packet *packets;
    unsigned packet_count, packet_capacity;
    struct shard *shards[SHARDS];
    bool shard_dead[SHARDS];
    struct client_core *clients[CLIENTS_MAX];
    unsigned client_count;
    Anthill__SlotMap map;
    Anthill__ShardEntry entries[SHARDS];
    Anthill__ShardEntry *entry_pointers[SHARDS];
    uint32_t owners[SLOTS];
    unsigned map_requests;
    bool shares;         /* clients and shards have memory in common */
    bool refuses_memory; /* shards do not map it from now on */
    unsigned char *memories[CLIENTS_MAX];
    unsigned mapped; /* by shards, now */
    struct held held[HELD_MAX];
    unsigned held_count;
};

static void *open_memory(void *context, const Anthill__SharedMemory *memory)
{
    struct net *net = context;
    assert_true(memory->pid < net->client_count && memory->bytes == MEMORY_BYTES);
    if (net->refuses_memory) return NULL;
    net->mapped++;
    return net->memories[memory->pid];
}

static void close_memory(void *context, void *base, uint64_t bytes)
{
    struct net *net = context;
    assert_non_null(base);
    assert_int_equal(bytes, MEMORY_BYTES);
    net->mapped--;
}

static struct shard *new_shard(struct net *net, uint32_t server, uint64_t incarnation)
{
    struct shard_options options = {.server = server,
                                    .incarnation = incarnation,
                                    .session_idle_ns = UINT64_MAX,
                                    .memory = {net, open_memory, close_memory}};
    struct shard *shard;
    assert_int_equal(shard_create(&shard, &options), STATUS_OK);
    shard_set_map_version(shard, 1);
    return shard;
}

static void net_init(struct net *net, uint64_t seed)
{
    static char *const endpoints[SHARDS] = {"tcp://a:1", "tcp://b:2"};
    *net = (struct net){.rng = rng_make(seed), .now_ns = NS_PER_S, .timeout_ns = 30 * NS_PER_S};
    anthill__slot_map__init(&net->map);
    for (uint32_t i = 0; i < SHARDS; i++) {
        net->shards[i] = new_shard(net, i, 100 + i);
        anthill__shard_entry__init(&net->entries[i]);
        net->entries[i].server = i;
        net->entries[i].endpoint = endpoints[i];
        net->entries[i].incarnation = 100 + i;
        net->entry_pointers[i] = &net->entries[i];
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        net->owners[slot] = slot * SHARDS / SLOTS;
    }
    net->map.version = 1;
    net->map.slot_count = SLOTS;
    net->map.n_owners = SLOTS;
    net->map.owners = net->owners;
    net->map.n_shards = SHARDS;
    net->map.shards = net->entry_pointers;
}

/* Memory that shards can reach, where they can reach any. */
static void *take_memory(struct client_core *core, size_t bytes)
{
    void *memory = client_core_memory_alloc(core, bytes);
    if (memory == NULL) memory = malloc(bytes);
    assert_non_null(memory);
    return memory;
}

static void give_memory(struct client_core *core, void *memory)
{
    if (!client_core_memory_free(core, memory)) free(memory);
}

static void net_deinit(struct net *net)
{
    for (unsigned i = 0; i < net->held_count; i++) {
        give_memory(net->held[i].core, net->held[i].memory);
    }
    for (unsigned i = 0; i < net->packet_count; i++) {
        wire_message_deinit(&net->packets[i].message);
    }
    free(net->packets);
    for (unsigned i = 0; i < SHARDS; i++) {
        shard_destroy(net->shards[i]);
    }
    for (unsigned i = 0; i < net->client_count; i++) {
        client_core_destroy(net->clients[i]);
        free(net->memories[i]);
    }
    assert_int_equal(net->mapped, 0);
}

/* Every shard is on the clients' host. To be called before there are clients. */
static void net_share(struct net *net)
{
    static char *const endpoints[SHARDS] = {"ipc://a", "ipc://b"};
    for (uint32_t i = 0; i < SHARDS; i++)
        net->entries[i].endpoint = endpoints[i];
    net->shares = true;
}

static struct client_core *net_client(struct net *net, bool trains)
{
    struct client_core_options options = {.coordinator = "tcp://c:3",
                                          .name = "test",
                                          .timeout_ns = net->timeout_ns,
                                          .trains = trains};
    struct client_core *core = client_core_create(&options);
    if (net->shares) {
        Anthill__SharedMemory where = ANTHILL__SHARED_MEMORY__INIT;
        where.pid = net->client_count;
        where.bytes = MEMORY_BYTES;
        void *memory = aligned_alloc(64, MEMORY_BYTES);
        assert_non_null(memory);
        memset(memory, 0, MEMORY_BYTES);
        net->memories[net->client_count] = memory;
        client_core_share(core, memory, &where);
    }
    return net->clients[net->client_count++] = core;
}

static void hold(struct net *net, struct client_core *core, uint64_t ticket, void *memory,
                 size_t bytes)
{
    assert_true(net->held_count < HELD_MAX);
    net->held[net->held_count++] = (struct held){core, ticket, memory, bytes, 0};
}

/* Looks at each piece of memory whose request has ended, and gives it back after a while. */
static void held_step(struct net *net)
{
    for (unsigned i = net->held_count; i-- > 0;) {
        struct held *held = &net->held[i];
        if (held->steps == 0) {
            if (client_core_ended(held->core, held->ticket, NULL) == STATUS_BUSY) continue;
            memset(held->memory, CANARY, held->bytes);
        }
        for (size_t j = 0; j < held->bytes; j++)
            assert_int_equal(held->memory[j], CANARY);
        if (++held->steps < CANARY_STEPS) continue;
        give_memory(held->core, held->memory);
        *held = net->held[--net->held_count];
    }
}

static struct frame frame_copy(const struct frame *frame)
{
    struct frame copied = frame_create(frame->bytes);
    assert_non_null(copied.data);
    memcpy(copied.data, frame->data, frame->bytes);
    return copied;
}

static void put_copy(struct net *net, const struct packet *packet)
{
    if (net->packet_count == net->packet_capacity) {
        net->packet_capacity = net->packet_capacity * 2 + 64;
        net->packets = realloc(net->packets, net->packet_capacity * sizeof *net->packets);
        assert_non_null(net->packets);
    }
    struct packet *put = &net->packets[net->packet_count++];
    *put = *packet;
    put->message = (struct message){.peer = packet->message.peer,
                                    .header = frame_copy(&packet->message.header),
                                    .payload_count = packet->message.payload_count};
    for (unsigned i = 0; i < put->message.payload_count; i++) {
        put->message.payload[i] = frame_copy(&packet->message.payload[i]);
    }
    put->due_ns = net->now_ns + (net->delay_ns > 0 ? rng_below(&net->rng, net->delay_ns) : 0);
}

/* Takes the message into the network, or loses it, or has it arrive twice. */
static void net_put(struct net *net, unsigned client, uint32_t other, bool to_client,
                    struct message *message)
{
    struct packet packet = {
        .client = client, .other = other, .to_client = to_client, .message = *message};
    packet.message.envelope = NULL;
    if (rng_below(&net->rng, 100) >= net->loss_percent) put_copy(net, &packet);
    if (rng_below(&net->rng, 100) < net->repeat_percent) put_copy(net, &packet);
    wire_message_deinit(message);
}

static void coordinator_handle(struct net *net, unsigned client, const Anthill__Envelope *request)
{
    Anthill__Envelope reply = ANTHILL__ENVELOPE__INIT;
    Anthill__JoinReply join = ANTHILL__JOIN_REPLY__INIT;
    Anthill__LeaveReply leave = ANTHILL__LEAVE_REPLY__INIT;
    reply.request = request->request;
    if (request->body_case == ANTHILL__ENVELOPE__BODY_JOIN) {
        join.session = client + 1;
        join.map = &net->map;
        reply.body_case = ANTHILL__ENVELOPE__BODY_JOIN_REPLY;
        reply.join_reply = &join;
    } else if (request->body_case == ANTHILL__ENVELOPE__BODY_MAP_REQUEST) {
        net->map_requests++;
        reply.body_case = ANTHILL__ENVELOPE__BODY_SLOT_MAP;
        reply.slot_map = &net->map;
    } else {
        reply.body_case = ANTHILL__ENVELOPE__BODY_LEAVE_REPLY;
        reply.leave_reply = &leave;
    }
    struct message message;
    assert_int_equal(wire_pack(&message, 0, &reply, NULL, 0), STATUS_OK);
    net_put(net, client, CLIENT_COORDINATOR, true, &message);
}

static void net_deliver(struct net *net, struct packet *packet)
{
    struct message *message = &packet->message;
    assert_int_equal(wire_unpack(message, NULL), STATUS_OK);
    if (packet->to_client) {
        client_core_receive(net->clients[packet->client], net->now_ns, packet->other, message);
    } else if (packet->other == CLIENT_COORDINATOR) {
        coordinator_handle(net, packet->client, message->envelope);
    } else if (!net->shard_dead[packet->other]) {
        struct outbox outbox = {0};
        message->peer = packet->client + 1;
        shard_handle(net->shards[packet->other], net->now_ns, message, &outbox);
        for (unsigned i = 0; i < outbox.count; i++) {
            unsigned client = (unsigned)outbox.messages[i].peer - 1;
            net_put(net, client, packet->other, true, &outbox.messages[i]);
        }
        outbox_deinit(&outbox);
    }
    wire_message_deinit(message);
}

static void take_output(struct net *net, unsigned client, uint32_t target)
{
    struct client_core *core = net->clients[client];
    for (struct message *message; (message = client_core_output(core, target)) != NULL;) {
        net_put(net, client, target, false, message);
        client_core_sent(core, target);
    }
}

/* 10 ms pass. */
static void net_step(struct net *net)
{
    net->now_ns += 10 * NS_PER_MS;
    for (unsigned client = 0; client < net->client_count; client++) {
        client_core_tick(net->clients[client], net->now_ns);
        take_output(net, client, CLIENT_COORDINATOR);
        for (uint32_t shard = 0; shard < client_core_shard_count(net->clients[client]); shard++) {
            take_output(net, client, shard);
        }
    }
    for (unsigned i = 0; i < net->packet_count;) {
        if (net->packets[i].due_ns > net->now_ns) {
            i++;
            continue;
        }
        struct packet packet = net->packets[i];
        memmove(&net->packets[i], &net->packets[i + 1],
                (--net->packet_count - i) * sizeof *net->packets);
        net_deliver(net, &packet);
    }
    held_step(net);
}

#define STEPS_MAX 100000

static enum status net_wait(struct net *net, struct client_core *core, uint64_t ticket,
                            struct error *error)
{
    enum status status = client_core_ended(core, ticket, error);
    for (unsigned i = 0; status == STATUS_BUSY && i < STEPS_MAX; i++) {
        net_step(net);
        status = client_core_ended(core, ticket, error);
    }
    return status;
}

static void wait_well(struct net *net, struct client_core *core, uint64_t ticket)
{
    struct error error = {0};
    if (net_wait(net, core, ticket, &error) != STATUS_OK) fail_msg("%s", error.text);
}

static void flush_well(struct net *net, struct client_core *core)
{
    struct error error = {0};
    enum status status = client_core_pushes_ended(core, &error);
    for (unsigned i = 0; status == STATUS_BUSY && i < STEPS_MAX; i++) {
        net_step(net);
        status = client_core_pushes_ended(core, &error);
    }
    if (status != STATUS_OK) fail_msg("%s", error.text);
}

static void join_well(struct net *net, struct client_core *core)
{
    struct error error = {0};
    enum status status;
    for (unsigned i = 0; (status = client_core_joined(core, &error)) == STATUS_BUSY; i++) {
        assert_true(i < STEPS_MAX);
        net_step(net);
    }
    if (status != STATUS_OK) fail_msg("%s", error.text);
}

static uint32_t open_table(struct net *net, struct client_core *core,
                           const struct spec_fixture *fixture)
{
    struct error error = {0};
    uint32_t table;
    uint64_t ticket;
    assert_int_equal(client_core_table(core, &fixture->spec, &table, &ticket, &error), STATUS_OK);
    wait_well(net, core, ticket);
    return table;
}

static size_t rows_bytes(const struct client_core *core, uint32_t table, uint32_t count)
{
    return (size_t)count * client_core_table_spec(core, table)->dim * sizeof(float);
}

static void pull_well(struct net *net, struct client_core *core, uint32_t table,
                      const uint64_t *keys, uint32_t count, float *rows)
{
    uint64_t ticket;
    size_t bytes = rows_bytes(core, table, count);
    float *memory = take_memory(core, bytes);
    assert_int_equal(client_core_pull(core, table, keys, count, memory, false, &ticket, NULL),
                     STATUS_OK);
    wait_well(net, core, ticket);
    memcpy(rows, memory, bytes);
    hold(net, core, ticket, memory, bytes);
}

static void start_push(struct net *net, struct client_core *core, uint32_t table,
                       const uint64_t *keys, uint32_t count, const float *grads)
{
    uint64_t ticket;
    size_t bytes = rows_bytes(core, table, count);
    float *memory = take_memory(core, bytes);
    memcpy(memory, grads, bytes);
    assert_int_equal(client_core_push(core, table, keys, count, memory, 1.0f, &ticket, NULL),
                     STATUS_OK);
    if (net->shares) {
        hold(net, core, ticket, memory, bytes);
    } else { /* the caller's memory is free at return */
        memset(memory, CANARY, bytes);
        free(memory);
    }
}

/* Pulls all keys; nobody looks at the rows. */
static void start_pull(struct net *net, struct client_core *core, uint32_t table)
{
    static uint64_t keys[KEYS];
    uint64_t ticket;
    size_t bytes = rows_bytes(core, table, KEYS);
    float *memory = take_memory(core, bytes);
    for (uint32_t i = 0; i < KEYS; i++)
        keys[i] = i;
    assert_int_equal(client_core_pull(core, table, keys, KEYS, memory, false, &ticket, NULL),
                     STATUS_OK);
    hold(net, core, ticket, memory, bytes);
}

/* Pushes random integer gradients of random keys and adds them up in `sums`. */
static void push_random(struct net *net, struct client_core *core, uint32_t table,
                        float sums[KEYS][DIM])
{
    uint64_t keys[KEYS];
    float grads[KEYS][DIM];
    uint32_t count = 0;
    for (uint64_t key = 0; key < KEYS; key++) {
        if (rng_below(&net->rng, 3) == 0) continue;
        keys[count] = key;
        for (unsigned i = 0; i < DIM; i++) {
            grads[count][i] = (float)rng_below(&net->rng, 9) - 4.0f;
            sums[key][i] += grads[count][i];
        }
        count++;
    }
    start_push(net, core, table, keys, count, &grads[0][0]);
}

static void check_sums(struct net *net, struct client_core *core, uint32_t table,
                       float sums[KEYS][DIM])
{
    uint64_t keys[KEYS];
    float rows[KEYS][DIM];
    for (uint32_t i = 0; i < KEYS; i++) {
        keys[i] = (i * 7) % KEYS; /* in another order than that of the shards */
    }
    pull_well(net, core, table, keys, KEYS, &rows[0][0]);
    for (uint32_t i = 0; i < KEYS; i++) {
        for (unsigned j = 0; j < DIM; j++) {
            assert_true(rows[i][j] == -sums[keys[i]][j]);
        }
    }
}

static void sparse_rows_over_two_shards_are_those_of_one_table(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 1);
    struct client_core *core = net_client(&net, false);
    join_well(&net, core);
    assert_int_equal(client_core_session(core), 1);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    uint32_t table = open_table(&net, core, &fixture);
    float sums[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 5; i++) {
        push_random(&net, core, table, sums);
    }
    flush_well(&net, core);
    check_sums(&net, core, table, sums);
    struct shard_stats stats[SHARDS];
    for (unsigned i = 0; i < SHARDS; i++) {
        shard_stats(net.shards[i], &stats[i]);
        assert_true(stats[i].rows > KEYS / 5);
        assert_int_equal(stats[i].repeated_pushes, 0);
    }
    assert_int_equal(stats[0].rows + stats[1].rows, KEYS);
    net_deinit(&net);
}

static void dense_tensors_over_two_shards_keep_their_places(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 2);
    struct client_core *core = net_client(&net, false);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_dense(&fixture, "weights", SGD);
    fixture_tensor(&fixture, "large", 700, 100, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    fixture_tensor(&fixture, "bias", 1, 7, ANTHILL__INIT_KIND__INIT_ONE, 0);
    uint32_t table = open_table(&net, core, &fixture);
    uint64_t count = table_spec_floats(&fixture.spec);
    assert_int_equal(count, 70007);
    float *grads = malloc(count * sizeof *grads);
    float *values = malloc(count * sizeof *values);
    for (uint64_t i = 0; i < count; i++) {
        grads[i] = (float)i;
    }
    uint64_t ticket;
    assert_int_equal(client_core_push_dense(core, table, grads, 1.0f, &ticket, NULL), STATUS_OK);
    memset(grads, 0, count * sizeof *grads); /* the caller's memory is free at return */
    wait_well(&net, core, ticket);
    assert_int_equal(client_core_pull_dense(core, table, values, &ticket, NULL), STATUS_OK);
    wait_well(&net, core, ticket);
    for (uint64_t i = 0; i < count; i++) {
        assert_true(values[i] == (i < 70000 ? -(float)i : 1.0f - (float)i));
    }
    struct shard_stats stats[SHARDS];
    for (unsigned i = 0; i < SHARDS; i++) {
        shard_stats(net.shards[i], &stats[i]);
        assert_true(stats[i].pushed_rows > 0);
    }
    free(grads);
    free(values);
    net_deinit(&net);
}

static void a_large_request_goes_in_parts(void **state)
{
    (void)state;
    enum { COUNT = 3000, WIDE = 512 };
    struct net net;
    net_init(&net, 3);
    struct client_core *core = net_client(&net, false);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "wide", WIDE, SGD);
    uint32_t table = open_table(&net, core, &fixture);
    uint64_t *keys = malloc(COUNT * sizeof *keys);
    float *rows = calloc((size_t)COUNT * WIDE, sizeof *rows);
    for (uint32_t i = 0; i < COUNT; i++) {
        keys[i] = rng_u64(&net.rng);
        rows[(size_t)i * WIDE + WIDE - 1] = (float)i;
    }
    start_push(&net, core, table, keys, COUNT, rows);
    flush_well(&net, core);
    memset(rows, 0, (size_t)COUNT * WIDE * sizeof *rows);
    pull_well(&net, core, table, keys, COUNT, rows);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(rows[(size_t)i * WIDE + WIDE - 1] == -(float)i);
    }
    struct shard_stats stats;
    shard_stats(net.shards[0], &stats);
    assert_true(stats.pulls >= 3); /* 3 MiB in parts of one */
    free(keys);
    free(rows);
    net_deinit(&net);
}

static void lose_and_repeat(bool shares)
{
    uint64_t first = fixture_seed();
    uint64_t repeated = 0;
    for (uint64_t seed = first; seed < first + 60; seed++) {
        struct net net;
        net_init(&net, seed);
        if (shares) net_share(&net);
        net.loss_percent = (unsigned)rng_below(&net.rng, 40);
        net.repeat_percent = (unsigned)rng_below(&net.rng, 40);
        net.timeout_ns = 600 * NS_PER_S; /* of silence: patience with such a network */
        net.delay_ns = (1 + rng_below(&net.rng, 3000)) * NS_PER_MS;
        struct client_core *core = net_client(&net, false);
        join_well(&net, core);
        struct spec_fixture fixture = {0};
        fixture_sparse(&fixture, "rows", DIM, SGD);
        uint32_t table = open_table(&net, core, &fixture);
        float sums[KEYS][DIM] = {{0}};
        for (unsigned i = 0; i < 100; i++) {
            push_random(&net, core, table, sums);
            if (i % 4 == 0) start_pull(&net, core, table);
            net_step(&net);
        }
        flush_well(&net, core);
        check_sums(&net, core, table, sums);
        for (unsigned i = 0; i < SHARDS; i++) {
            struct shard_stats stats;
            shard_stats(net.shards[i], &stats);
            repeated += stats.repeated_pushes;
        }
        net_deinit(&net);
    }
    assert_true(repeated > 100); /* the network did what it was asked to */
}

static void a_network_that_loses_and_repeats_applies_each_push_once(void **state)
{
    (void)state;
    lose_and_repeat(false);
}

static void the_same_holds_for_gradients_in_shared_memory(void **state)
{
    (void)state;
    lose_and_repeat(true);
}

static void unanswered_pushes_stay_within_the_window(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 5);
    struct client_core *core = net_client(&net, false);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    uint32_t table = open_table(&net, core, &fixture);
    float sums[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 200; i++) {
        push_random(&net, core, table, sums);
    }
    client_core_tick(core, net.now_ns);
    unsigned count = 0;
    uint64_t highest = 0;
    for (struct message *message; (message = client_core_output(core, 0)) != NULL; count++) {
        assert_int_equal(wire_unpack(message, NULL), STATUS_OK);
        highest = message->envelope->sequence;
        net_put(&net, 0, 0, false, message);
        client_core_sent(core, 0);
    }
    assert_true(count > 50 && count < 64);
    assert_int_equal(highest, count);
    flush_well(&net, core);
    check_sums(&net, core, table, sums);
    net_deinit(&net);
}

/* Shard 1 comes back empty under a new incarnation, as the coordinator would announce it. */
static void restart_empty(struct net *net)
{
    shard_destroy(net->shards[1]);
    net->entries[1].incarnation++;
    net->map.version++;
    net->shards[1] = new_shard(net, 1, net->entries[1].incarnation);
    for (unsigned i = 0; i < SHARDS; i++) {
        shard_set_map_version(net->shards[i], net->map.version);
    }
}

static void a_shard_that_comes_back_empty_is_greeted_again(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 6);
    struct client_core *core = net_client(&net, false);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    uint32_t table = open_table(&net, core, &fixture);
    uint64_t keys[KEYS];
    float rows[KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
        rows[key][0] = rows[key][1] = rows[key][2] = 1.0f;
    }
    start_push(&net, core, table, keys, KEYS, &rows[0][0]);
    flush_well(&net, core);
    restart_empty(&net);
    start_push(&net, core, table, keys, KEYS, &rows[0][0]);
    flush_well(&net, core);
    assert_true(net.map_requests > 0);
    pull_well(&net, core, table, keys, KEYS, &rows[0][0]);
    for (uint64_t key = 0; key < KEYS; key++) {
        uint32_t owner = net.owners[slot_of(key, SLOTS)];
        assert_true(rows[key][0] == (owner == 0 ? -2.0f : -1.0f));
    }
    net_deinit(&net);
}

static void a_silent_shard_is_named_when_the_time_is_over(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 7);
    struct client_core *core = net_client(&net, false);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    uint32_t table = open_table(&net, core, &fixture);
    net.shard_dead[1] = true;
    uint64_t start_ns = net.now_ns;
    uint64_t keys[KEYS];
    float rows[KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
    }
    uint64_t ticket;
    struct error error = {0};
    assert_int_equal(client_core_pull(core, table, keys, KEYS, &rows[0][0], false, &ticket, &error),
                     STATUS_OK);
    assert_int_equal(net_wait(&net, core, ticket, &error), STATUS_UNAVAILABLE);
    assert_non_null(strstr(error.text, "server 1 shard 0 at tcp://b:2"));
    assert_non_null(strstr(error.text, "30.0 s"));
    uint64_t waited_ns = net.now_ns - start_ns;
    assert_true(waited_ns >= 30 * NS_PER_S && waited_ns < 31 * NS_PER_S);
    assert_true(net.map_requests > 0); /* it may have moved: that was asked */
    net_deinit(&net);
}

static void a_coordinator_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 8);
    net.loss_percent = 100;
    struct client_core *core = net_client(&net, false);
    struct error error = {0};
    for (unsigned i = 0; client_core_joined(core, &error) == STATUS_BUSY; i++) {
        assert_true(i < 3200);
        net_step(&net);
    }
    assert_int_equal(client_core_joined(core, &error), STATUS_UNAVAILABLE);
    assert_non_null(strstr(error.text, "coordinator at tcp://c:3"));
    net_deinit(&net);
}

static void another_spec_of_a_table_is_refused_and_others_go_on(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 9);
    struct client_core *first = net_client(&net, false);
    struct client_core *second = net_client(&net, false);
    join_well(&net, first);
    join_well(&net, second);
    struct spec_fixture right = {0}, wrong = {0}, other = {0};
    fixture_sparse(&right, "rows", DIM, SGD);
    fixture_sparse(&wrong, "rows", DIM + 1, SGD);
    fixture_sparse(&other, "others", DIM + 1, SGD);
    open_table(&net, first, &right);
    uint32_t table;
    uint64_t ticket;
    struct error error = {0};
    assert_int_equal(client_core_table(second, &wrong.spec, &table, &ticket, &error), STATUS_OK);
    assert_int_equal(net_wait(&net, second, ticket, &error), STATUS_CONFIG);
    assert_non_null(strstr(error.text, "rows"));
    table = open_table(&net, second, &other);
    uint64_t key = 5;
    float row[DIM + 1];
    pull_well(&net, second, table, &key, 1, row);
    /* The same client knows its own table, and the difference to another spec at once. */
    assert_int_equal(client_core_table(first, &wrong.spec, &table, &ticket, &error), STATUS_CONFIG);
    assert_int_equal(client_core_table(first, &right.spec, &table, &ticket, &error), STATUS_OK);
    assert_int_equal(client_core_ended(first, ticket, &error), STATUS_OK);
    net_deinit(&net);
}

static void a_refused_push_says_why_once(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 10);
    struct client_core *core = net_client(&net, false);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    uint32_t table = open_table(&net, core, &fixture);
    uint64_t key = 1;
    float grads[DIM] = {0, NAN, 0};
    start_push(&net, core, table, &key, 1, grads);
    struct error error = {0};
    enum status status;
    while ((status = client_core_pushes_ended(core, &error)) == STATUS_BUSY) {
        net_step(&net);
    }
    assert_int_equal(status, STATUS_INVALID);
    assert_non_null(strstr(error.text, "rows"));
    assert_int_equal(client_core_pushes_ended(core, &error), STATUS_OK);
    net_deinit(&net);
}

/* ---- clocks --------------------------------------------------------------------------------- */

static void wait_idle(struct net *net, struct client_core *core)
{
    for (unsigned i = 0; i < 100; i++) {
        net_step(net);
    }
    assert_int_equal(client_core_joined(core, NULL), STATUS_OK);
}

static void bsp_trainers_take_the_same_steps_together(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 11);
    net.delay_ns = 30 * NS_PER_MS;
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    fixture.spec.consistency = BSP;
    uint64_t keys[KEYS], tickets[2];
    float rows[2][KEYS][DIM], grads[KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
        grads[key][0] = grads[key][1] = grads[key][2] = 1.0f;
    }
    uint32_t table = 0;
    for (unsigned i = 0; i < 2; i++) {
        join_well(&net, net_client(&net, true));
        table = open_table(&net, net.clients[i], &fixture);
    }
    for (unsigned i = 0; i < 2; i++) { /* both are in the clock before the first step */
        pull_well(&net, net.clients[i], table, keys, KEYS, &rows[i][0][0]);
    }
    for (unsigned step = 0; step < 5; step++) {
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(client_core_clock(net.clients[i]), step);
            start_push(&net, net.clients[i], table, keys, KEYS, &grads[0][0]);
            client_core_advance(net.clients[i]);
            assert_int_equal(client_core_pull(net.clients[i], table, keys, KEYS, &rows[i][0][0],
                                              false, &tickets[i], NULL),
                             STATUS_OK);
        }
        for (unsigned i = 0; i < 2; i++) {
            wait_well(&net, net.clients[i], tickets[i]);
            for (unsigned key = 0; key < KEYS; key++) {
                assert_true(rows[i][key][0] == -2.0f * (float)(step + 1));
            }
        }
    }
    /* One that is ahead waits, and goes on once the other has nothing to train. */
    client_core_advance(net.clients[0]);
    assert_int_equal(client_core_pull(net.clients[0], table, keys, KEYS, &rows[0][0][0], false,
                                      &tickets[0], NULL),
                     STATUS_OK);
    wait_idle(&net, net.clients[0]);
    assert_int_equal(client_core_ended(net.clients[0], tickets[0], NULL), STATUS_BUSY);
    client_core_idle(net.clients[1]);
    wait_well(&net, net.clients[0], tickets[0]);
    /* The other enters again where the first one is. */
    for (unsigned i = 0; i < 3; i++) {
        client_core_advance(net.clients[0]);
    }
    wait_idle(&net, net.clients[0]);
    pull_well(&net, net.clients[1], table, keys, KEYS, &rows[1][0][0]);
    assert_int_equal(client_core_clock(net.clients[1]), client_core_clock(net.clients[0]));
    net_deinit(&net);
}

static void reading_only_does_not_enter_the_clock(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 12);
    struct client_core *core = net_client(&net, true);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    uint32_t table = open_table(&net, core, &fixture);
    uint64_t key = 3, ticket;
    float row[DIM];
    assert_int_equal(client_core_pull(core, table, &key, 1, row, true, &ticket, NULL), STATUS_OK);
    wait_well(&net, core, ticket);
    struct shard_stats stats;
    shard_stats(net.shards[0], &stats);
    assert_int_equal(stats.trainers, 0);
    assert_int_equal(stats.rows, 0);
    pull_well(&net, core, table, &key, 1, row);
    shard_stats(net.shards[0], &stats);
    assert_int_equal(stats.trainers, 1);
    net_deinit(&net);
}

static void leaving_and_entering_at_once_does_not_hang(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 13);
    net.timeout_ns = 600 * NS_PER_S;
    net.loss_percent = 20;
    net.delay_ns = 50 * NS_PER_MS;
    struct client_core *core = net_client(&net, true);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    fixture.spec.consistency = SSP;
    fixture.spec.staleness = 1;
    uint32_t table = open_table(&net, core, &fixture);
    float sums[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 50; i++) {
        push_random(&net, core, table, sums);
        if (i % 3 == 0) client_core_advance(core);
        client_core_idle(core);
        if (i % 5 != 0) continue;
        flush_well(&net, core);
        check_sums(&net, core, table, sums);
    }
    flush_well(&net, core);
    check_sums(&net, core, table, sums);
    client_core_leave(core);
    for (unsigned i = 0; !client_core_left(core); i++) {
        assert_true(i < STEPS_MAX);
        net_step(&net);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard_stats stats;
        shard_stats(net.shards[i], &stats);
        assert_int_equal(stats.trainers, 0);
    }
    net_deinit(&net);
}

static void a_trainer_enters_again_on_a_shard_that_came_back_empty(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 14);
    struct client_core *core = net_client(&net, true);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    fixture.spec.consistency = BSP;
    uint32_t table = open_table(&net, core, &fixture);
    float sums[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 4; i++) {
        push_random(&net, core, table, sums);
        client_core_advance(core);
    }
    flush_well(&net, core);
    wait_idle(&net, core); /* no advance is on its way: the link has to enter by itself */
    restart_empty(&net);
    memset(sums, 0, sizeof sums);
    uint64_t keys[KEYS];
    float rows[KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
    }
    pull_well(&net, core, table, keys, KEYS, &rows[0][0]);
    wait_idle(&net, core);
    struct shard_stats stats;
    shard_stats(net.shards[1], &stats);
    assert_int_equal(stats.trainers, 1);
    assert_int_equal(stats.clock_min, client_core_clock(core));
    /* Nothing is left unanswered: it can leave, and enter once more. */
    client_core_idle(core);
    wait_idle(&net, core);
    pull_well(&net, core, table, keys, KEYS, &rows[0][0]);
    shard_stats(net.shards[1], &stats);
    assert_int_equal(stats.trainers, 1);
    net_deinit(&net);
}

static void who_was_taken_for_dead_enters_again_at_one_clock_everywhere(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 15);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    fixture.spec.consistency = BSP;
    struct client_core *a = net_client(&net, true), *b = net_client(&net, true);
    join_well(&net, a);
    join_well(&net, b);
    uint32_t table = open_table(&net, a, &fixture);
    open_table(&net, b, &fixture);
    uint64_t keys[KEYS];
    float rows[2][KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
    }
    pull_well(&net, a, table, keys, KEYS, &rows[0][0][0]);
    pull_well(&net, b, table, keys, KEYS, &rows[1][0][0]);
    /* The coordinator has not heard of b: the shards go on without it. */
    uint64_t gone = client_core_session(b);
    for (unsigned i = 0; i < SHARDS; i++) {
        struct outbox outbox = {0};
        shard_sessions_gone(net.shards[i], &gone, 1, &outbox);
        assert_int_equal(outbox.count, 0);
        outbox_deinit(&outbox);
    }
    for (unsigned i = 0; i < 3; i++) {
        client_core_advance(a);
    }
    wait_idle(&net, a);
    /* b is back; between its entries into one shard and the other, a takes a step. */
    net.shard_dead[1] = true;
    client_core_advance(b);
    net_step(&net);
    net_step(&net);
    net.shard_dead[1] = false;
    client_core_advance(a);
    wait_idle(&net, a);
    wait_idle(&net, b);
    assert_int_equal(client_core_clock(a), client_core_clock(b));
    uint64_t tickets[2];
    assert_int_equal(
        client_core_pull(a, table, keys, KEYS, &rows[0][0][0], false, &tickets[0], NULL),
        STATUS_OK);
    assert_int_equal(
        client_core_pull(b, table, keys, KEYS, &rows[1][0][0], false, &tickets[1], NULL),
        STATUS_OK);
    wait_well(&net, b, tickets[1]);
    wait_well(&net, a, tickets[0]);
    net_deinit(&net);
}

/* ---- shared memory -------------------------------------------------------------------------- */

/* A client that shares its memory with both shards, and its table. */
static struct client_core *share_rows(struct net *net, uint64_t seed, uint32_t *table)
{
    net_init(net, seed);
    net_share(net);
    struct client_core *core = net_client(net, false);
    join_well(net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    *table = open_table(net, core, &fixture);
    assert_int_equal(net->mapped, SHARDS);
    return core;
}

/* Bytes of payload in the messages for the shards that wait to be sent, which are put. */
static size_t payload_put(struct net *net, unsigned client)
{
    size_t bytes = 0;
    client_core_tick(net->clients[client], net->now_ns);
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        struct client_core *core = net->clients[client];
        for (struct message *message; (message = client_core_output(core, shard)) != NULL;) {
            for (unsigned i = 0; i < message->payload_count; i++)
                bytes += message->payload[i].bytes;
            net_put(net, client, shard, false, message);
            client_core_sent(core, shard);
        }
    }
    return bytes;
}

static void only_memory_that_is_shared_goes_without_payload(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = share_rows(&net, 20, &table);
    uint64_t keys[KEYS], ticket;
    float grads[KEYS][DIM], sums[KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
        for (unsigned i = 0; i < DIM; i++) {
            grads[key][i] = (float)(key + i);
            sums[key][i] = 3 * grads[key][i];
        }
    }
    start_push(&net, core, table, keys, KEYS, &grads[0][0]);
    assert_int_equal(payload_put(&net, 0), 0);
    assert_int_equal(client_core_push(core, table, keys, KEYS, &grads[0][0], 1.0f, &ticket, NULL),
                     STATUS_OK);
    assert_int_equal(payload_put(&net, 0), sizeof keys + sizeof grads);
    /* Memory that is full is no error. */
    void *all = NULL;
    for (size_t bytes = MEMORY_BYTES; bytes >= 64; bytes /= 2)
        while ((all = client_core_memory_alloc(core, bytes)) != NULL)
            continue;
    assert_int_equal(
        client_core_push(core, table, keys, KEYS, (float *)net.held[0].memory, 1.0f, &ticket, NULL),
        STATUS_OK);
    assert_int_equal(payload_put(&net, 0), sizeof keys + sizeof grads);
    flush_well(&net, core);
    check_sums(&net, core, table, sums);
    net_deinit(&net);
}

static void requests_that_were_given_up_leave_the_memory_alone(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = share_rows(&net, 23, &table);
    float sums[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 5; i++) {
        start_pull(&net, core, table);
        push_random(&net, core, table, sums);
    }
    assert_int_equal(payload_put(&net, 0), 0);
    unsigned late = net.packet_count;
    assert_int_equal(late, 10 * SHARDS);
    for (unsigned i = 0; i < late; i++)
        net.packets[i].due_ns = UINT64_MAX;
    net.shard_dead[0] = net.shard_dead[1] = true; /* for the copies that follow */
    for (unsigned i = 0; client_core_joined(core, NULL) == STATUS_OK; i++) {
        assert_true(i < STEPS_MAX);
        net_step(&net);
    }
    net_step(&net);
    assert_int_equal(net.held_count, 10);
    for (unsigned i = 0; i < 10; i++)
        assert_true(net.held[i].steps > 0); /* the memory is the caller's again */
    net.shard_dead[0] = net.shard_dead[1] = false;
    for (unsigned i = 0; i < late; i++)
        net.packets[i].due_ns = net.now_ns;
    for (unsigned i = 0; i < CANARY_STEPS; i++)
        net_step(&net);
    assert_int_equal(net.packet_count, 0);
    assert_int_equal(net.held_count, 0);
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard_stats stats;
        shard_stats(net.shards[i], &stats);
        assert_int_equal(stats.rows, 0); /* nor was garbage pushed */
    }
    net_deinit(&net);
}

/* The state of the one block that is in use. */
static _Atomic uint64_t *block_state(struct net *net)
{
    for (uint32_t number = 1; number <= SHARED_BLOCKS; number++) {
        struct shared_block *block = shared_block_at(net->memories[0], number);
        if (atomic_load(&block->state) != 0) return &block->state;
    }
    fail_msg("no block is in use");
    return NULL;
}

static void memory_that_a_shard_is_writing_to_is_not_given_back(void **state)
{
    (void)state;
    for (unsigned ends_by = 0; ends_by < 2; ends_by++) {
        struct net net;
        uint32_t table;
        struct client_core *core = share_rows(&net, 21, &table);
        uint64_t key = 0, ticket;
        while (net.owners[slot_of(key, SLOTS)] != 1)
            key++;
        net.shard_dead[1] = true;
        float *row = take_memory(core, DIM * sizeof *row);
        assert_int_equal(client_core_pull(core, table, &key, 1, row, false, &ticket, NULL),
                         STATUS_OK);
        net_step(&net);
        /* It has begun, and is not heard of. */
        _Atomic uint64_t *block = block_state(&net);
        uint64_t id = atomic_load(block) >> 2;
        atomic_store(block, shared_block_state(id, BLOCK_TAKEN));
        uint64_t start_ns = net.now_ns;
        for (unsigned i = 0; client_core_joined(core, NULL) == STATUS_OK; i++) {
            assert_true(i < STEPS_MAX);
            net_step(&net);
        }
        for (unsigned i = 0; i < 10; i++) {
            net_step(&net);
            assert_int_equal(client_core_ended(core, ticket, NULL), STATUS_BUSY);
        }
        struct error error = {0};
        if (ends_by == 0) {
            atomic_store(block, shared_block_state(id, BLOCK_DONE));
            net_step(&net);
        }
        assert_int_equal(net_wait(&net, core, ticket, &error), STATUS_UNAVAILABLE);
        uint64_t waited_ns = net.now_ns - start_ns;
        assert_true(waited_ns < (ends_by == 0 ? 31 : 61) * NS_PER_S);
        assert_int_equal(atomic_load(block), 0);
        give_memory(core, row);
        net_deinit(&net);
    }
}

/* A shard restarts while requests are under way; `refuses`: and does not map the memory again. */
static void restart_shard(uint64_t seed, bool refuses)
{
    struct net net;
    uint32_t table;
    struct client_core *core = share_rows(&net, seed, &table);
    net.delay_ns = 100 * NS_PER_MS;
    float sums[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 10; i++) {
        push_random(&net, core, table, sums);
        start_pull(&net, core, table);
    }
    flush_well(&net, core);
    net.refuses_memory = refuses;
    restart_empty(&net);
    float later[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 10; i++) {
        push_random(&net, core, table, later);
        start_pull(&net, core, table);
    }
    flush_well(&net, core);
    assert_int_equal(net.mapped, refuses ? SHARDS - 1 : SHARDS);
    for (uint64_t key = 0; key < KEYS; key++) {
        for (unsigned i = 0; i < DIM; i++)
            sums[key][i] =
                later[key][i] + (net.owners[slot_of(key, SLOTS)] == 0 ? sums[key][i] : 0);
    }
    check_sums(&net, core, table, sums);
    net_deinit(&net);
}

static void a_shard_that_restarts_maps_the_memory_again_or_is_sent_frames(void **state)
{
    (void)state;
    uint64_t first = fixture_seed();
    for (uint64_t seed = first; seed < first + 10; seed++) {
        restart_shard(seed, false);
        restart_shard(seed, true);
    }
}

static void gradients_that_are_refused_are_given_back_when_all_parts_have_ended(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = share_rows(&net, 22, &table);
    uint64_t keys[KEYS];
    float grads[KEYS][DIM] = {{0}}, sums[KEYS][DIM] = {{0}};
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
        uint32_t owner = net.owners[slot_of(key, SLOTS)];
        grads[key][0] = owner == 0 ? NAN : 1.0f;
        sums[key][0] = owner == 0 ? 0.0f : 1.0f;
    }
    net.shard_dead[1] = true;
    start_push(&net, core, table, keys, KEYS, &grads[0][0]);
    wait_idle(&net, core);
    assert_int_equal(client_core_pushes_ended(core, NULL), STATUS_BUSY);
    net.shard_dead[1] = false;
    struct error error = {0};
    net.held_count--; /* looked at here */
    for (unsigned i = 0; client_core_pushes_ended(core, &error) == STATUS_BUSY; i++) {
        assert_true(i < STEPS_MAX);
        net_step(&net);
    }
    assert_non_null(strstr(error.text, "NaN or infinite"));
    give_memory(core, net.held[net.held_count].memory);
    check_sums(&net, core, table, sums);
    net_deinit(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sparse_rows_over_two_shards_are_those_of_one_table),
        cmocka_unit_test(dense_tensors_over_two_shards_keep_their_places),
        cmocka_unit_test(a_large_request_goes_in_parts),
        cmocka_unit_test(a_network_that_loses_and_repeats_applies_each_push_once),
        cmocka_unit_test(the_same_holds_for_gradients_in_shared_memory),
        cmocka_unit_test(unanswered_pushes_stay_within_the_window),
        cmocka_unit_test(a_shard_that_comes_back_empty_is_greeted_again),
        cmocka_unit_test(a_silent_shard_is_named_when_the_time_is_over),
        cmocka_unit_test(a_coordinator_that_is_not_there_is_named),
        cmocka_unit_test(another_spec_of_a_table_is_refused_and_others_go_on),
        cmocka_unit_test(a_refused_push_says_why_once),
        cmocka_unit_test(bsp_trainers_take_the_same_steps_together),
        cmocka_unit_test(reading_only_does_not_enter_the_clock),
        cmocka_unit_test(leaving_and_entering_at_once_does_not_hang),
        cmocka_unit_test(a_trainer_enters_again_on_a_shard_that_came_back_empty),
        cmocka_unit_test(who_was_taken_for_dead_enters_again_at_one_clock_everywhere),
        cmocka_unit_test(only_memory_that_is_shared_goes_without_payload),
        cmocka_unit_test(requests_that_were_given_up_leave_the_memory_alone),
        cmocka_unit_test(memory_that_a_shard_is_writing_to_is_not_given_back),
        cmocka_unit_test(a_shard_that_restarts_maps_the_memory_again_or_is_sent_frames),
        cmocka_unit_test(gradients_that_are_refused_are_given_back_when_all_parts_have_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
