/* A client of two shards under answers that make no sense, and some that do. Input: a byte (1: the
 * client shares memory with the shards; 2: it trains), then events (messages.h). An event's kind:
 * bits 0-1 who sends (shard 0 or 1, else the coordinator); 0x10: it answers one of the last four
 * requests to the sender, which bits 2-3 choose; 0xe0: what the caller asks for before. */
#include <stdlib.h>
#include <string.h>

#include "ps/client/client_core.h"
#include "ps/shared_block.h"
#include "ps/table_spec.h"
#include "tests/fuzz/fuzz_tables.h"
#include "tests/fuzz/messages.h"

enum { SHARDS = 2, SLOTS = 16, KEYS = 20, ASKED = 4, LENT_MAX = 64 };
enum { MEMORY_BYTES = SHARED_BLOCKS_END + (1 << 16) };

/* What a request has from its caller, until the client is gone. */
struct lent {
    uint64_t ticket;
    float rows[KEYS * 8];
    uint32_t versions[KEYS];
    uint64_t keys[KEYS + 64];
    uint32_t key_count;
    struct client_scan scan;
    Anthill__DescribeReply *description;
};

struct caller {
    struct client_core *core;
    uint64_t now_ns;
    struct lent *lent[LENT_MAX];
    unsigned lent_count;
    uint64_t asked[SHARDS + 1][ASKED]; /* request numbers of each target, the latest first */
    uint64_t deleted;
    float *shared; /* in the client's memory; NULL: none */
};

static uint32_t target_of(unsigned source)
{
    return source < SHARDS ? source : CLIENT_COORDINATOR;
}

/* Notes the number of a request that goes out. */
static void note(struct caller *caller, unsigned source, struct message *message)
{
    uint64_t *asked = caller->asked[source];
    CHECK(wire_unpack(message, NULL) == STATUS_OK);
    memmove(asked + 1, asked, (ASKED - 1) * sizeof *asked);
    asked[0] = message->envelope->request;
}

static void send_all(struct caller *caller)
{
    client_core_tick(caller->core, caller->now_ns);
    for (unsigned source = 0; source <= SHARDS; source++) {
        if (source < SHARDS && client_core_shard_count(caller->core) == 0) continue;
        uint32_t target = target_of(source);
        for (struct message *message;
             (message = client_core_output(caller->core, target)) != NULL;) {
            note(caller, source, message);
            client_core_sent(caller->core, target);
        }
    }
}

static void receive(struct caller *caller, unsigned source, Anthill__Envelope *envelope)
{
    const struct message message = {.envelope = envelope};
    envelope->request = caller->asked[source][0];
    client_core_receive(caller->core, caller->now_ns, target_of(source), &message);
}

/* ---- the start ---------------------------------------------------------------------------------
 */

static void join(struct caller *caller)
{
    Anthill__ShardEntry entry[SHARDS], *entries[SHARDS];
    uint32_t owners[SLOTS];
    Anthill__SlotMap map = ANTHILL__SLOT_MAP__INIT;
    for (uint32_t i = 0; i < SHARDS; i++) {
        anthill__shard_entry__init(&entry[i]);
        entry[i].server = i;
        entry[i].endpoint = i == 0 ? "ipc://a" : "ipc://b";
        entry[i].incarnation = 7;
        entries[i] = &entry[i];
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        owners[slot] = slot % SHARDS;
    map.version = 1;
    map.slot_count = map.n_owners = SLOTS;
    map.owners = owners;
    map.n_shards = SHARDS;
    map.shards = entries;
    Anthill__JoinReply reply = ANTHILL__JOIN_REPLY__INIT;
    reply.session = 5;
    reply.map = &map;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_JOIN_REPLY;
    envelope.join_reply = &reply;
    send_all(caller);
    receive(caller, SHARDS, &envelope);
    CHECK(client_core_joined(caller->core, NULL) == STATUS_OK);
}

static void open_table(struct caller *caller, const Anthill__TableSpec *spec, bool shares)
{
    uint32_t table, ids[] = {0, 1};
    uint64_t ticket;
    Anthill__HelloReply reply = ANTHILL__HELLO_REPLY__INIT;
    CHECK(client_core_table(caller->core, spec, &table, &ticket, NULL) == STATUS_OK);
    reply.incarnation = 7;
    reply.n_table_ids = table + 1;
    reply.table_ids = ids;
    reply.sequence_next = 1;
    reply.memory_mapped = shares;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = 5;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO_REPLY;
    envelope.hello_reply = &reply;
    send_all(caller);
    for (unsigned source = 0; source < SHARDS; source++)
        receive(caller, source, &envelope);
    send_all(caller);
    CHECK(client_core_ended(caller->core, ticket, NULL) == STATUS_OK);
}

/* ---- what the caller asks for ------------------------------------------------------------------
 */

static struct lent *lend(struct caller *caller)
{
    struct lent *lent = calloc(1, sizeof *lent);
    CHECK(lent != NULL);
    for (uint64_t i = 0; i < KEYS; i++)
        lent->keys[i] = i * i;
    return caller->lent[caller->lent_count++] = lent;
}

static enum status ask(struct caller *caller, uint8_t what, struct lent *lent)
{
    struct client_core *core = caller->core;
    float *rows = caller->shared != NULL ? caller->shared : lent->rows;
    switch (what) {
    case 1:
        return client_core_pull(core, 0, lent->keys, KEYS, rows, false, &lent->ticket, NULL);
    case 2:
        return client_core_push(core, 0, lent->keys, KEYS, rows, 1, &lent->ticket, NULL);
    case 3:
        return client_core_pull_dense(core, 1, lent->rows, &lent->ticket, NULL);
    case 4:
        return client_core_pull_newer(core, 0, lent->keys, KEYS, 2, lent->rows, lent->versions,
                                      true, &lent->ticket, NULL);
    case 5:
        return client_core_scan(core, 0, &lent->scan, lent->keys, KEYS + 64, &lent->key_count,
                                &lent->ticket, NULL);
    case 6:
        return client_core_describe(core, 1, "rows", &lent->description, &lent->ticket, NULL);
    default:
        return client_core_delete(core, 0, lent->keys, KEYS, &caller->deleted, &lent->ticket, NULL);
    }
}

static void ask_for(struct caller *caller, uint8_t what)
{
    if (what == 0 || caller->lent_count == LENT_MAX) return;
    struct lent *lent = lend(caller);
    if (ask(caller, what, lent) != STATUS_OK) lent->ticket = 0;
    if (what == 7 && caller->lent_count % 2 == 0) client_core_advance(caller->core);
}

/* Requests that have ended are seen to once. */
static void look(struct caller *caller)
{
    for (unsigned i = 0; i < caller->lent_count; i++) {
        struct lent *lent = caller->lent[i];
        if (lent->ticket == 0) continue;
        if (client_core_ended(caller->core, lent->ticket, NULL) != STATUS_BUSY) lent->ticket = 0;
    }
}

static void handle(struct caller *caller, const struct messages_event *event)
{
    struct message message;
    unsigned source = event->kind % 4 < SHARDS ? event->kind % 4 : SHARDS;
    caller->now_ns += messages_pause_ns(event->pause);
    ask_for(caller, event->kind >> 5);
    send_all(caller);
    look(caller);
    if (!messages_unpack(event, 0, &message)) return;
    if ((event->kind & 0x10) != 0)
        message.envelope->request = caller->asked[source][(event->kind >> 2) % ASKED];
    client_core_receive(caller->core, caller->now_ns, target_of(source), &message);
    wire_message_deinit(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct messages_event event;
    uint8_t how = fuzz_byte(&input);
    const struct client_core_options options = {.coordinator = "tcp://c:1",
                                                .name = "fuzz",
                                                .timeout_ns = UINT64_C(30000000000),
                                                .trains = (how & 2) != 0};
    struct caller caller = {.core = client_core_create(&options), .now_ns = 1000000000};
    struct fuzz_tables tables;
    Anthill__SharedMemory where = ANTHILL__SHARED_MEMORY__INIT;
    void *memory = NULL;
    if ((how & 1) != 0) {
        memory = aligned_alloc(64, MEMORY_BYTES);
        CHECK(memory != NULL);
        memset(memory, 0, SHARED_MEMORY_HEADER_BYTES + 64 * sizeof(struct shared_block));
        where.bytes = MEMORY_BYTES;
        client_core_share(caller.core, memory, &where, NULL);
        caller.shared = client_core_memory_alloc(caller.core, KEYS * 2 * sizeof(float));
    }
    fuzz_tables_init(&tables, ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD);
    tables.rows.versioned = true;
    join(&caller);
    open_table(&caller, &tables.rows, memory != NULL);
    open_table(&caller, &tables.weights, memory != NULL);
    while (messages_next(&input, &event))
        handle(&caller, &event);
    client_core_leave(caller.core);
    send_all(&caller);
    look(&caller);
    client_core_destroy(caller.core);
    for (unsigned i = 0; i < caller.lent_count; i++) {
        anthill__describe_reply__free_unpacked(caller.lent[i]->description, NULL);
        free(caller.lent[i]);
    }
    free(memory);
    return 0;
}
