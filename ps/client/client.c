#include "ps/client/client.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/program.h"
#include "common/shared_memory.h"
#include "common/text.h"
#include "common/transport.h"
#include "ps/checkpoint.h"
#include "ps/client/client_core.h"
#include "ps/shard.h"
#include "ps/table.h"

#define TURN_NS        (20 * NS_PER_MS) /* the core looks at its timers so often */
#define RECEIVE_MAX    64               /* messages of one peer in a turn */
#define CLOSE_WAIT_NS  NS_PER_S
#define SHARED_BYTES   (UINT64_C(4) << 30) /* addresses; pages are there once they are used */
#define LOCAL_SESSION  1
#define LOCAL_ENDPOINT "this process"

struct client {
    struct client_core *core;
    struct transport *coordinator; /* NULL: the shard is in this process */
    struct transport **shards;     /* [shard_count] */
    struct transport **poll_set;   /* those and the coordinator */
    uint32_t shard_count;
    struct shard *local;
    struct outbox local_outbox;
    struct shared_memory memory;
    enum status status; /* a connection could not be made */
    struct error error;
};

/* Connects to the shards of the slot map, and anew to those that have moved. */
static void connect_shards(struct client *client)
{
    uint32_t count = client_core_shard_count(client->core);
    if (client->shard_count != count) {
        CHECK(client->shard_count == 0);
        client->shards = calloc(count, sizeof(struct transport *));
        client->poll_set = realloc(client->poll_set, (count + 1) * sizeof(struct transport *));
        CHECK(client->shards != NULL && client->poll_set != NULL);
        client->shard_count = count;
    }
    for (uint32_t i = 0; i < count && client->status == STATUS_OK; i++) {
        const char *endpoint = client_core_endpoint(client->core, i);
        struct transport *old = client->shards[i];
        if (old != NULL && strcmp(transport_endpoint(old), endpoint) == 0) continue;
        transport_close(old);
        client->status = transport_connect(&client->shards[i], endpoint, &client->error);
    }
}

static void receive_from(struct client *client, struct transport *transport, uint32_t source)
{
    struct message message;
    for (unsigned i = 0; i < RECEIVE_MAX; i++) {
        if (transport_receive(transport, &message) != STATUS_OK) return;
        client_core_receive(client->core, clock_now_ns(), source, &message);
        wire_message_deinit(&message);
    }
}

static void send_to(struct client *client, struct transport *transport, uint32_t target)
{
    for (struct message *message; (message = client_core_output(client->core, target)) != NULL;) {
        if (transport_send(transport, message) == STATUS_BUSY) return;
        client_core_sent(client->core, target);
    }
}

/* Requests and answers between the core and the shard beside it, until both are quiet. */
static void turn_local(struct client *client)
{
    client_core_tick(client->core, clock_now_ns());
    for (struct message *message; (message = client_core_output(client->core, 0)) != NULL;) {
        CHECK(wire_unpack(message, NULL) == STATUS_OK);
        shard_handle(client->local, clock_now_ns(), message, &client->local_outbox);
        client_core_sent(client->core, 0);
        for (unsigned i = 0; i < client->local_outbox.count; i++) {
            struct message *reply = &client->local_outbox.messages[i];
            CHECK(wire_unpack(reply, NULL) == STATUS_OK);
            client_core_receive(client->core, clock_now_ns(), 0, reply);
        }
        outbox_clear(&client->local_outbox);
        client_core_tick(client->core, clock_now_ns());
    }
}

/* Takes what has arrived, lets time pass, sends what is due. */
static void turn(struct client *client)
{
    if (client->local != NULL) {
        turn_local(client);
        return;
    }
    receive_from(client, client->coordinator, CLIENT_COORDINATOR);
    connect_shards(client);
    if (client->status != STATUS_OK) return;
    for (uint32_t i = 0; i < client->shard_count; i++) {
        receive_from(client, client->shards[i], i);
    }
    client_core_tick(client->core, clock_now_ns());
    send_to(client, client->coordinator, CLIENT_COORDINATOR);
    for (uint32_t i = 0; i < client->shard_count; i++) {
        send_to(client, client->shards[i], i);
    }
}

static enum status connection_status(const struct client *client, struct error *error)
{
    if (client->status != STATUS_OK && error != NULL) *error = client->error;
    return client->status;
}

static void wait_for_message(struct client *client)
{
    if (client->local != NULL) return;
    for (uint32_t i = 0; i < client->shard_count; i++) {
        client->poll_set[i] = client->shards[i];
    }
    client->poll_set[client->shard_count] = client->coordinator;
    transport_poll(client->poll_set, client->shard_count + 1, TURN_NS);
}

/* Turns until `ended` says something else than STATUS_BUSY. */
static enum status wait_until(struct client *client,
                              enum status (*ended)(struct client_core *core, uint64_t ticket,
                                                   struct error *error),
                              uint64_t ticket, struct error *error)
{
    for (;;) {
        turn(client);
        enum status status = connection_status(client, error);
        if (status == STATUS_OK) status = ended(client->core, ticket, error);
        if (status != STATUS_BUSY) return status;
        if (program_stop_requested()) return error_set(error, STATUS_STOPPED, "asked to stop");
        wait_for_message(client);
    }
}

static enum status ended_join(struct client_core *core, uint64_t ticket, struct error *error)
{
    (void)ticket;
    return client_core_joined(core, error);
}

static enum status ended_pushes(struct client_core *core, uint64_t ticket, struct error *error)
{
    (void)ticket;
    return client_core_pushes_ended(core, error);
}

static struct client *client_create(const struct client_options *options)
{
    struct client *client = calloc(1, sizeof *client);
    CHECK(client != NULL);
    client->poll_set = calloc(1, sizeof(struct transport *));
    CHECK(client->poll_set != NULL);
    client->core = client_core_create(&(struct client_core_options){
        .coordinator = options->coordinator,
        .name = options->name,
        .timeout_ns = options->timeout_ns,
        .trains = options->trains,
        .seed_count = options->seed_count,
        .graph_checksum = options->graph_checksum,
    });
    return client;
}

static void client_destroy(struct client *client)
{
    client_core_destroy(client->core);
    shared_memory_deinit(&client->memory);
    for (uint32_t i = 0; i < client->shard_count; i++) {
        transport_close(client->shards[i]);
    }
    transport_close(client->coordinator);
    shard_destroy(client->local);
    outbox_deinit(&client->local_outbox);
    free(client->shards);
    free(client->poll_set);
    free(client);
}

/* Shards on ipc endpoints are on this host. Without memory in common they are sent frames. */
static void share_memory(struct client *client)
{
    bool same_host = false;
    for (uint32_t i = 0; i < client_core_shard_count(client->core); i++)
        same_host |= strncmp(client_core_endpoint(client->core, i), "ipc://", 6) == 0;
    if (!same_host) return;
    struct error error;
    if (shared_memory_init(&client->memory, SHARED_BYTES, &error) != STATUS_OK) {
        log_event(LOG_INFO, "memory_not_shared", "reason=%s", error.text);
        return;
    }
    Anthill__SharedMemory where = ANTHILL__SHARED_MEMORY__INIT;
    where.pid = (uint32_t)getpid();
    where.fd = (uint32_t)client->memory.fd;
    where.bytes = client->memory.bytes;
    where.nonce = client->memory.nonce;
    client_core_share(client->core, client->memory.base, &where, shared_memory_process_ended);
}

enum status client_open(struct client **client, const struct client_options *options,
                        struct error *error)
{
    *client = NULL;
    struct client *opened = client_create(options);
    enum status status = transport_connect(&opened->coordinator, options->coordinator, error);
    if (status != STATUS_OK) error_wrap(error, status, "coordinator");
    if (status == STATUS_OK) status = wait_until(opened, ended_join, 0, error);
    if (status != STATUS_OK) {
        client_destroy(opened);
        return status;
    }
    share_memory(opened);
    *client = opened;
    return STATUS_OK;
}

/* One shard with all rows, and one slot. */
static enum status start_local(struct client *client, struct error *error)
{
    uint32_t owner = 0;
    Anthill__ShardEntry entry = ANTHILL__SHARD_ENTRY__INIT;
    entry.endpoint = LOCAL_ENDPOINT;
    entry.incarnation = 1;
    Anthill__ShardEntry *entries[1] = {&entry};
    Anthill__SlotMap map = ANTHILL__SLOT_MAP__INIT;
    map.slot_count = 1;
    map.n_owners = 1;
    map.owners = &owner;
    map.n_shards = 1;
    map.shards = entries;
    enum status status = client_core_start(client->core, LOCAL_SESSION, &map, error);
    for (uint32_t i = 0; status == STATUS_OK && i < shard_table_count(client->local); i++) {
        uint32_t table;
        status = client_table(client, table_spec(shard_table(client->local, i)), &table, error);
    }
    return status;
}

enum status client_open_checkpoint(struct client **client, const char *step_dir,
                                   struct error *error)
{
    *client = NULL;
    struct client_options options = {
        .coordinator = LOCAL_ENDPOINT, .name = "", .timeout_ns = 60 * NS_PER_S};
    struct client *opened = client_create(&options);
    struct shard_options shard_options = {.incarnation = 1, .session_idle_ns = UINT64_MAX};
    enum status status = shard_create(&opened->local, &shard_options);
    if (status != STATUS_OK) error_set(error, status, "no memory for the tables of %s", step_dir);
    if (status == STATUS_OK) status = checkpoint_read(opened->local, step_dir, NULL, 0, error);
    if (status == STATUS_OK) status = start_local(opened, error);
    if (status != STATUS_OK) {
        client_destroy(opened);
        return status;
    }
    *client = opened;
    return STATUS_OK;
}

void client_close(struct client *client)
{
    if (client == NULL) return;
    client_core_leave(client->core);
    uint64_t end_ns = clock_now_ns() + CLOSE_WAIT_NS;
    turn(client);
    while (client->local == NULL && client->status == STATUS_OK &&
           !client_core_left(client->core) && clock_now_ns() < end_ns) {
        wait_for_message(client);
        turn(client);
    }
    client_destroy(client);
}

uint64_t client_session(const struct client *client)
{
    return client_core_session(client->core);
}

uint64_t client_clock(const struct client *client)
{
    return client_core_clock(client->core);
}

enum status client_table(struct client *client, const Anthill__TableSpec *spec, uint32_t *table,
                         struct error *error)
{
    uint64_t ticket;
    enum status status = client_core_table(client->core, spec, table, &ticket, error);
    return status == STATUS_OK ? client_wait(client, ticket, error) : status;
}

/* Waits for what a shard says of a table. *description is NULL or owned, also on error. */
static enum status describe(struct client *client, uint32_t shard, const char *name,
                            Anthill__DescribeReply **description, struct error *error)
{
    uint64_t ticket;
    enum status status =
        client_core_describe(client->core, shard, name, description, &ticket, error);
    return status == STATUS_OK ? client_wait(client, ticket, error) : status;
}

static enum status refuse_name(const char *name, const Anthill__DescribeReply *description,
                               struct error *error)
{
    struct text names = {0};
    text_add(&names, description->n_names == 0 ? "there are none" : "those there are:");
    for (size_t i = 0; i < description->n_names; i++)
        text_add(&names, "%s %s", i == 0 ? "" : ",", description->names[i]);
    error_set(error, STATUS_NOT_FOUND, "there is no table \"%s\"; %s", name, names.data);
    text_deinit(&names);
    return STATUS_NOT_FOUND;
}

enum status client_open_table(struct client *client, const char *name, uint32_t *table,
                              uint64_t *rows, struct error *error)
{
    Anthill__DescribeReply *description = NULL;
    enum status status = describe(client, 0, name, &description, error);
    if (status == STATUS_OK && description->spec == NULL) {
        status = refuse_name(name, description, error);
    } else if (status == STATUS_OK) {
        status = client_table(client, description->spec, table, error);
    }
    anthill__describe_reply__free_unpacked(description, NULL);
    if (rows != NULL) *rows = 0;
    uint32_t shards = rows != NULL ? client_core_shard_count(client->core) : 0;
    for (uint32_t i = 0; status == STATUS_OK && i < shards; i++) {
        status = describe(client, i, name, &description, error);
        if (status == STATUS_OK) *rows += description->rows;
        anthill__describe_reply__free_unpacked(description, NULL);
    }
    return status;
}

enum status client_set_encoding(struct client *client, uint32_t table, Anthill__Encoding encoding,
                                struct error *error)
{
    return client_core_set_encoding(client->core, table, encoding, error);
}

void *client_memory_alloc(struct client *client, size_t bytes)
{
    void *memory = client_core_memory_alloc(client->core, bytes);
    if (memory == NULL) {
        size_t rounded = (bytes / 64 + 1) * 64;
        if (rounded > bytes) memory = aligned_alloc(64, rounded);
    }
    /* Pages come into being here, and count as this process's. */
    if (memory != NULL) memset(memory, 0, bytes);
    return memory;
}

void client_memory_free(struct client *client, void *memory)
{
    if (!client_core_memory_free(client->core, memory)) free(memory);
}

const Anthill__TableSpec *client_table_spec(const struct client *client, const char *name,
                                            uint32_t *table)
{
    *table = client_core_table_find(client->core, name);
    return *table != UINT32_MAX ? client_core_table_spec(client->core, *table) : NULL;
}

/* What was started goes out at once. */
static enum status started(struct client *client, enum status status, struct error *error)
{
    if (status != STATUS_OK) return status;
    turn(client);
    return connection_status(client, error);
}

enum status client_pull(struct client *client, uint32_t table, const uint64_t *keys,
                        uint32_t key_count, float *rows, bool read_only, uint64_t *ticket,
                        struct error *error)
{
    return started(
        client,
        client_core_pull(client->core, table, keys, key_count, rows, read_only, ticket, error),
        error);
}

enum status client_pull_newer(struct client *client, uint32_t table, const uint64_t *keys,
                              uint32_t key_count, uint32_t behind, float *rows, uint32_t *versions,
                              bool read_only, uint64_t *ticket, struct error *error)
{
    return started(client,
                   client_core_pull_newer(client->core, table, keys, key_count, behind, rows,
                                          versions, read_only, ticket, error),
                   error);
}

uint64_t client_restarts(const struct client *client)
{
    return client_core_restarts(client->core);
}

enum status client_push(struct client *client, uint32_t table, const uint64_t *keys,
                        uint32_t key_count, const float *grads, float rate_scale, uint64_t *ticket,
                        struct error *error)
{
    return started(
        client,
        client_core_push(client->core, table, keys, key_count, grads, rate_scale, ticket, error),
        error);
}

enum status client_pull_dense(struct client *client, uint32_t table, float *values,
                              uint64_t *ticket, struct error *error)
{
    return started(client, client_core_pull_dense(client->core, table, values, ticket, error),
                   error);
}

enum status client_push_dense(struct client *client, uint32_t table, const float *grads,
                              float rate_scale, uint64_t *ticket, struct error *error)
{
    return started(client,
                   client_core_push_dense(client->core, table, grads, rate_scale, ticket, error),
                   error);
}

enum status client_assign(struct client *client, uint32_t table, const uint64_t *keys,
                          uint32_t key_count, const float *values, uint64_t *ticket,
                          struct error *error)
{
    return started(client,
                   client_core_assign(client->core, table, keys, key_count, values, ticket, error),
                   error);
}

enum status client_delete(struct client *client, uint32_t table, const uint64_t *keys,
                          uint32_t key_count, uint64_t *deleted, uint64_t *ticket,
                          struct error *error)
{
    return started(client,
                   client_core_delete(client->core, table, keys, key_count, deleted, ticket, error),
                   error);
}

enum status client_scan(struct client *client, uint32_t table, struct client_scan *scan,
                        uint64_t *keys, uint32_t keys_max, uint32_t *count, struct error *error)
{
    enum status status = STATUS_OK;
    *count = 0;
    while (status == STATUS_OK && *count == 0 && !scan->ended) {
        uint64_t ticket;
        status = client_core_scan(client->core, table, scan, keys, keys_max, count, &ticket, error);
        if (status == STATUS_OK) status = client_wait(client, ticket, error);
    }
    return status;
}

enum status client_wait(struct client *client, uint64_t ticket, struct error *error)
{
    return wait_until(client, client_core_ended, ticket, error);
}

enum status client_flush(struct client *client, struct error *error)
{
    return wait_until(client, ended_pushes, 0, error);
}

enum status client_advance(struct client *client, struct error *error)
{
    client_core_advance(client->core);
    return client_poll(client, error);
}

enum status client_advance_to(struct client *client, uint64_t clock, struct error *error)
{
    client_core_advance_to(client->core, clock);
    return client_poll(client, error);
}

static enum status ended_entry(struct client_core *core, uint64_t ticket, struct error *error)
{
    (void)ticket;
    return client_core_entered(core, error);
}

enum status client_enter(struct client *client, struct error *error)
{
    client_core_enter(client->core);
    return wait_until(client, ended_entry, 0, error);
}

enum status client_idle(struct client *client, struct error *error)
{
    client_core_idle(client->core);
    return client_poll(client, error);
}

enum status client_poll(struct client *client, struct error *error)
{
    turn(client);
    enum status status = connection_status(client, error);
    return status == STATUS_OK ? client_core_joined(client->core, error) : status;
}
