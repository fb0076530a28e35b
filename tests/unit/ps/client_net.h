/* Clients' state machines and real shards over a simulated network: virtual time, and every loss,
 * repeat and delay from one seed. Rows start as zeros and SGD has rate 1, so a row is minus the sum
 * of its integer gradients: exactly-once is an exact check. */
#ifndef ANTHILL_TESTS_UNIT_PS_CLIENT_NET_H
#define ANTHILL_TESTS_UNIT_PS_CLIENT_NET_H

#include "tests/unit/ps/ps_fixture.h"

#include "common/clock.h"
#include "ps/client/client_core.h"
#include "ps/push_window.h"
#include "ps/shared_block.h"
#include "ps/table_spec.h"

enum { SHARDS = 2, CLIENTS_MAX = 3, SLOTS = 16, DIM = 3, KEYS = 50 };
#define SESSION_IDLE_NS (600 * NS_PER_S)
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
    uint32_t other;    /* shard or CLIENT_COORDINATOR */
    char endpoint[16]; /* of a shard's server: other connections lead elsewhere */
    bool to_client;
    struct message message;
};

/* Requests with a sequence that one client has sent to one shard and that are unanswered. */
struct outstanding {
    uint64_t requests[PUSH_WINDOW], sequences[PUSH_WINDOW];
    unsigned count;
};

struct net {
    struct rng rng;
    uint64_t now_ns;
    unsigned loss_percent, repeat_percent;
    bool loses_answers; /* nothing reaches clients */
    bool loses_replies_to_pushes;
    uint64_t delay_ns;   /* at most */
    uint64_t timeout_ns; /* of clients */
    struct packet *packets;
    unsigned packet_count, packet_capacity;
    struct shard *shards[SHARDS];
    bool shard_dead[SHARDS];
    struct shard *backup;     /* of shard 1; it has everything before it is answered */
    bool backup_lags;         /* it has nothing from now on: nor are there answers */
    struct shard *old;        /* the primary before */
    const char *old_endpoint; /* its own */
    bool old_stopped;         /* it does not look at what arrives; */
    unsigned old_handled;     /* requests that it did look at */
    struct client_core *clients[CLIENTS_MAX];
    unsigned client_count;
    Anthill__SlotMap map;
    Anthill__ShardEntry entries[SHARDS];
    Anthill__ShardEntry *entry_pointers[SHARDS];
    uint32_t owners[SLOTS];
    unsigned map_requests;
    bool shares;         /* clients and shards have memory in common */
    bool refuses_memory; /* shards do not map it from now on */
    bool coordinator_dead;
    bool (*ended)(uint32_t process); /* as client_core_share; before there are clients */
    unsigned char *memories[CLIENTS_MAX];
    unsigned mapped; /* by shards, now */
    struct held held[HELD_MAX];
    unsigned held_count;
    struct outstanding outstanding[CLIENTS_MAX][SHARDS];
};

static inline void *open_memory(void *context, const Anthill__SharedMemory *memory)
{
    struct net *net = context;
    assert_true(memory->pid < net->client_count && memory->bytes == MEMORY_BYTES);
    if (net->refuses_memory) return NULL;
    net->mapped++;
    return net->memories[memory->pid];
}

static inline void close_memory(void *context, void *base, uint64_t bytes)
{
    struct net *net = context;
    assert_non_null(base);
    assert_int_equal(bytes, MEMORY_BYTES);
    net->mapped--;
}

static inline bool is_open(void *context, uint32_t pid, uint32_t fd)
{
    (void)context, (void)pid, (void)fd;
    return true;
}

static inline struct shard *new_shard(struct net *net, uint32_t server, uint64_t incarnation)
{
    struct shard_options options = {.server = server,
                                    .incarnation = incarnation,
                                    .session_idle_ns = SESSION_IDLE_NS,
                                    .process = 10 + server,
                                    .memory = {net, open_memory, close_memory, is_open}};
    struct shard *shard;
    assert_int_equal(shard_create(&shard, &options), STATUS_OK);
    shard_set_map_version(shard, 1);
    return shard;
}

static inline void net_init(struct net *net, uint64_t seed)
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
        net->entries[i].primary = i;
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
static inline void *take_memory(struct client_core *core, size_t bytes)
{
    void *memory = client_core_memory_alloc(core, bytes);
    if (memory == NULL) memory = malloc(bytes);
    assert_non_null(memory);
    return memory;
}

static inline void give_memory(struct client_core *core, void *memory)
{
    if (!client_core_memory_free(core, memory)) free(memory);
}

static inline void net_deinit(struct net *net)
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
    shard_destroy(net->backup);
    shard_destroy(net->old);
    for (unsigned i = 0; i < net->client_count; i++) {
        client_core_destroy(net->clients[i]);
        free(net->memories[i]);
    }
    assert_int_equal(net->mapped, 0);
}

/* Every shard is on the clients' host. To be called before there are clients. */
static inline void net_share(struct net *net)
{
    static char *const endpoints[SHARDS] = {"ipc://a", "ipc://b"};
    for (uint32_t i = 0; i < SHARDS; i++)
        net->entries[i].endpoint = endpoints[i];
    net->shares = true;
}

static inline struct client_core *net_client(struct net *net, bool trains)
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
        client_core_share(core, memory, &where, net->ended);
    }
    return net->clients[net->client_count++] = core;
}

static inline void hold(struct net *net, struct client_core *core, uint64_t ticket, void *memory,
                        size_t bytes)
{
    assert_true(net->held_count < HELD_MAX);
    net->held[net->held_count++] = (struct held){core, ticket, memory, bytes, 0};
}

/* Looks at each piece of memory whose request has ended, and gives it back after a while. */
static inline void held_step(struct net *net)
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

static inline struct frame frame_copy(const struct frame *frame)
{
    struct frame copied = frame_create(frame->bytes);
    assert_non_null(copied.data);
    memcpy(copied.data, frame->data, frame->bytes);
    return copied;
}

static inline void put_copy(struct net *net, const struct packet *packet)
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
static inline void net_put_at(struct net *net, unsigned client, uint32_t other, bool to_client,
                              const char *endpoint, struct message *message)
{
    struct packet packet = {
        .client = client, .other = other, .to_client = to_client, .message = *message};
    packet.message.envelope = NULL;
    snprintf(packet.endpoint, sizeof packet.endpoint, "%s", endpoint);
    bool lost = rng_below(&net->rng, 100) < net->loss_percent || (to_client && net->loses_answers);
    if (!lost) put_copy(net, &packet);
    if (rng_below(&net->rng, 100) < net->repeat_percent) put_copy(net, &packet);
    wire_message_deinit(message);
}

static inline void net_put(struct net *net, unsigned client, uint32_t other, bool to_client,
                           struct message *message)
{
    const char *endpoint = "";
    if (other != CLIENT_COORDINATOR)
        endpoint = to_client ? net->entries[other].endpoint
                             : client_core_endpoint(net->clients[client], other);
    net_put_at(net, client, other, to_client, endpoint, message);
}

/* The shard knows every sequence between the oldest unanswered one and the newest. */
static inline void check_outstanding(struct outstanding *sent, const Anthill__Envelope *envelope)
{
    uint64_t lowest = envelope->sequence, highest = envelope->sequence;
    if (lowest == 0) return;
    for (unsigned i = 0; i < sent->count; i++) {
        if (sent->sequences[i] != lowest) continue;
        sent->requests[i] = envelope->request; /* another one after a failover */
        return;
    }
    for (unsigned i = 0; i < sent->count; i++) {
        if (sent->sequences[i] < lowest) lowest = sent->sequences[i];
        if (sent->sequences[i] > highest) highest = sent->sequences[i];
    }
    assert_true(highest - lowest < PUSH_WINDOW);
    assert_true(sent->count < PUSH_WINDOW);
    sent->requests[sent->count] = envelope->request;
    sent->sequences[sent->count++] = envelope->sequence;
}

/* Requests that are not answered by this have another answer to come. */
static inline void forget_outstanding(struct outstanding *sent, const Anthill__Envelope *envelope)
{
    struct error error;
    enum status status = wire_error(envelope, &error);
    if (status == STATUS_EXPIRED) sent->count = 0;
    if (status == STATUS_BUSY || status == STATUS_NOT_FOUND) return;
    for (unsigned i = sent->count; i-- > 0;) {
        if (sent->requests[i] != envelope->request) continue;
        sent->requests[i] = sent->requests[--sent->count];
        sent->sequences[i] = sent->sequences[sent->count];
    }
}

static inline void coordinator_handle(struct net *net, unsigned client,
                                      const Anthill__Envelope *request)
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

static inline bool changes_rows(const Anthill__Envelope *envelope)
{
    return envelope->sequence != 0;
}

/* The block that a push names; 0: none. */
static inline uint32_t block_of_push(const Anthill__Envelope *envelope)
{
    return envelope->body_case == ANTHILL__ENVELOPE__BODY_PUSH ? envelope->push->block : 0;
}

/* What the primary is about to do, the backup has done. */
static inline void copy_to_backup(struct net *net, unsigned client, const struct message *message)
{
    bool hello = message->envelope->body_case == ANTHILL__ENVELOPE__BODY_HELLO;
    if (!hello && !changes_rows(message->envelope)) return;
    uint32_t number = block_of_push(message->envelope);
    struct shared_block *block =
        number != 0 ? shared_block_at(net->memories[client], number) : NULL;
    uint64_t state = block != NULL ? atomic_load(&block->state) : 0;
    struct outbox outbox = {0};
    uint64_t incarnation = message->envelope->incarnation; /* the primary's */
    message->envelope->incarnation = 0;
    shard_handle(net->backup, net->now_ns, message, &outbox);
    message->envelope->incarnation = incarnation;
    outbox_deinit(&outbox);
    if (block != NULL) atomic_store(&block->state, state);
}

static inline void shard_deliver(struct net *net, struct packet *packet)
{
    struct message *message = &packet->message;
    bool is_old = net->old != NULL && strcmp(packet->endpoint, net->old_endpoint) == 0;
    if (is_old ? net->old_stopped : net->shard_dead[packet->other]) return;
    bool copied = packet->other == 1 && net->backup != NULL && !net->backup_lags;
    bool held = packet->other == 1 && (is_old || net->backup_lags);
    held = held && changes_rows(message->envelope);
    message->peer = packet->client + 1;
    if (copied) copy_to_backup(net, packet->client, message);
    struct outbox outbox = {0};
    shard_handle(is_old ? net->old : net->shards[packet->other], net->now_ns, message, &outbox);
    net->old_handled += is_old;
    for (unsigned i = 0; i < outbox.count && !held; i++) {
        unsigned client = (unsigned)outbox.messages[i].peer - 1;
        const char *from = is_old ? net->old_endpoint : net->entries[packet->other].endpoint;
        net_put_at(net, client, packet->other, true, from, &outbox.messages[i]);
    }
    outbox_deinit(&outbox);
}

static inline void net_deliver(struct net *net, struct packet *packet)
{
    struct message *message = &packet->message;
    struct client_core *core = net->clients[packet->client];
    assert_int_equal(wire_unpack(message, NULL), STATUS_OK);
    if (net->loses_replies_to_pushes &&
        message->envelope->body_case == ANTHILL__ENVELOPE__BODY_PUSH_REPLY) {
        wire_message_deinit(message);
        return;
    }
    if (packet->to_client && packet->other != CLIENT_COORDINATOR) {
        forget_outstanding(&net->outstanding[packet->client][packet->other], message->envelope);
    }
    if (packet->other == CLIENT_COORDINATOR && packet->to_client) {
        client_core_receive(core, net->now_ns, packet->other, message);
    } else if (packet->other == CLIENT_COORDINATOR) {
        if (!net->coordinator_dead) coordinator_handle(net, packet->client, message->envelope);
    } else if (!packet->to_client) {
        assert_int_equal(message->envelope->shard, 1 + packet->other);
        shard_deliver(net, packet);
    } else if (strcmp(client_core_endpoint(core, packet->other), packet->endpoint) == 0) {
        client_core_receive(core, net->now_ns, packet->other, message);
    }
    wire_message_deinit(message);
}

static inline void take_output(struct net *net, unsigned client, uint32_t target)
{
    struct client_core *core = net->clients[client];
    for (struct message *message; (message = client_core_output(core, target)) != NULL;) {
        if (target != CLIENT_COORDINATOR) {
            assert_int_equal(wire_unpack(message, NULL), STATUS_OK);
            check_outstanding(&net->outstanding[client][target], message->envelope);
        }
        net_put(net, client, target, false, message);
        client_core_sent(core, target);
    }
}

/* 10 ms pass. */
static inline void net_step(struct net *net)
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

static inline enum status net_wait(struct net *net, struct client_core *core, uint64_t ticket,
                                   struct error *error)
{
    enum status status = client_core_ended(core, ticket, error);
    for (unsigned i = 0; status == STATUS_BUSY && i < STEPS_MAX; i++) {
        net_step(net);
        status = client_core_ended(core, ticket, error);
    }
    return status;
}

static inline void wait_well(struct net *net, struct client_core *core, uint64_t ticket)
{
    struct error error = {0};
    if (net_wait(net, core, ticket, &error) != STATUS_OK) fail_msg("%s", error.text);
}

static inline void flush_well(struct net *net, struct client_core *core)
{
    struct error error = {0};
    enum status status = client_core_pushes_ended(core, &error);
    for (unsigned i = 0; status == STATUS_BUSY && i < STEPS_MAX; i++) {
        net_step(net);
        status = client_core_pushes_ended(core, &error);
    }
    if (status != STATUS_OK) fail_msg("%s", error.text);
}

static inline void join_well(struct net *net, struct client_core *core)
{
    struct error error = {0};
    enum status status;
    for (unsigned i = 0; (status = client_core_joined(core, &error)) == STATUS_BUSY; i++) {
        assert_true(i < STEPS_MAX);
        net_step(net);
    }
    if (status != STATUS_OK) fail_msg("%s", error.text);
}

static inline uint32_t open_table(struct net *net, struct client_core *core,
                                  const struct spec_fixture *fixture)
{
    struct error error = {0};
    uint32_t table;
    uint64_t ticket;
    assert_int_equal(client_core_table(core, &fixture->spec, &table, &ticket, &error), STATUS_OK);
    wait_well(net, core, ticket);
    return table;
}

/* One client that has joined, and its table "rows" of `dim` floats. */
static inline struct client_core *net_begin(struct net *net, uint64_t seed, bool trains,
                                            uint32_t dim, uint32_t *table)
{
    net_init(net, seed);
    struct client_core *core = net_client(net, trains);
    join_well(net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", dim, SGD);
    *table = open_table(net, core, &fixture);
    return core;
}

static inline size_t rows_bytes(const struct client_core *core, uint32_t table, uint32_t count)
{
    return (size_t)count * client_core_table_spec(core, table)->dim * sizeof(float);
}

static inline void pull_well(struct net *net, struct client_core *core, uint32_t table,
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

static inline void start_push(struct net *net, struct client_core *core, uint32_t table,
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
static inline void start_pull(struct net *net, struct client_core *core, uint32_t table)
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
static inline void push_random(struct net *net, struct client_core *core, uint32_t table,
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

static inline void check_sums(struct net *net, struct client_core *core, uint32_t table,
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

/* Shard 1 comes back empty under a new incarnation, as the coordinator would announce it. */
static inline void restart_empty(struct net *net)
{
    shard_destroy(net->shards[1]);
    net->entries[1].incarnation++;
    net->map.version++;
    net->shards[1] = new_shard(net, 1, net->entries[1].incarnation);
    for (unsigned i = 0; i < SHARDS; i++) {
        shard_set_map_version(net->shards[i], net->map.version);
    }
}

/* Shard 1 has a backup in server 0. To be called before there are clients. */
static inline void net_replicate(struct net *net)
{
    net->backup = new_shard(net, 0, 200);
}

/* A map that nobody has asked for, to all clients. */
static inline void tell_map(struct net *net)
{
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SLOT_MAP;
    envelope.slot_map = &net->map;
    for (unsigned i = 0; i < net->client_count; i++) {
        struct message message;
        assert_int_equal(wire_pack(&message, 0, &envelope, NULL, 0), STATUS_OK);
        net_put(net, i, CLIENT_COORDINATOR, true, &message);
    }
}

/* The backup of shard 1 becomes its primary. The one before is stopped, not dead. */
static inline void fail_over(struct net *net)
{
    net->old = net->shards[1];
    net->old_endpoint = net->entries[1].endpoint;
    net->old_stopped = true;
    net->shards[1] = net->backup;
    net->backup = NULL;
    net->backup_lags = false;
    net->entries[1].endpoint = net->shares ? "ipc://d" : "tcp://d:4";
    net->entries[1].incarnation = 200;
    net->entries[1].primary = 0;
    net->map.version++;
    for (unsigned i = 0; i < SHARDS; i++)
        shard_set_map_version(net->shards[i], net->map.version);
}

static inline void wait_idle(struct net *net, struct client_core *core)
{
    for (unsigned i = 0; i < 100; i++) {
        net_step(net);
    }
    assert_int_equal(client_core_joined(core, NULL), STATUS_OK);
}

static inline void lose_and_repeat(bool shares)
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

/* Bytes of payload in the messages for the shards that wait to be sent, which are put. */
static inline size_t payload_put(struct net *net, unsigned client)
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

#endif
