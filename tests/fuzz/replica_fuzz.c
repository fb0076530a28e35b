/* A shard's primary and its backup, between whom messages come in that nobody sent. Input: a byte
 * that says how the tables work, then events (messages.h). An event's kind: 0x80: a client's
 * request to the primary, whose changes then reach the backup, else a message to the backup
 * (Replicate) or to the primary (ReplicateReply); 0x40: its session, or stream and index, are what
 * the receiver waits for; 0x20: what the primary has to say is lost; 0x10: the backup becomes a
 * primary at the end, else both have to be equal where nothing was made up. */
#include "ps/replica.h"
#include "tests/fuzz/fuzz_tables.h"
#include "tests/fuzz/messages.h"

enum { PRIMARY = 100, BACKUP = 200, TURNS = 8 };

struct pair {
    struct replica *primary, *backup;
    struct outbox clients, out;
    uint64_t now_ns, stream, index; /* that the backup has had */
    bool made_up, lost;             /* it was told of something that did not happen, or not told */
};

static void send_all(struct outbox *outbox)
{
    for (unsigned i = 0; i < outbox->count; i++)
        CHECK(wire_unpack(&outbox->messages[i], NULL) == STATUS_OK);
    outbox_clear(outbox);
}

static struct replica *create(uint64_t incarnation)
{
    const struct replica_options options = {
        .shard = {.incarnation = incarnation, .session_idle_ns = UINT64_C(60000000000)},
        .index = 0};
    struct replica *replica = NULL;
    CHECK(replica_create(&replica, &options) == STATUS_OK);
    return replica;
}

/* Replies of the backup, for the primary. */
static void answer(struct pair *pair, struct outbox *replies)
{
    for (unsigned i = 0; i < replies->count; i++) {
        struct message *message = &replies->messages[i];
        CHECK(wire_unpack(message, NULL) == STATUS_OK);
        if (message->envelope->body_case == ANTHILL__ENVELOPE__BODY_REPLICATE_REPLY) {
            replica_answered(pair->primary, pair->now_ns, message->envelope->replicate_reply,
                             &pair->clients);
        }
    }
    outbox_clear(replies);
}

static void deliver(struct pair *pair, struct message *message)
{
    struct outbox replies = {0};
    if (message->envelope->body_case == ANTHILL__ENVELOPE__BODY_REPLICATE) {
        pair->stream = message->envelope->replicate->stream;
        pair->index = message->envelope->replicate->index;
        replica_take(pair->backup, message, &replies);
    }
    answer(pair, &replies);
    outbox_deinit(&replies);
}

/* Until the primary has no more to say. */
static void replicate(struct pair *pair, bool lose)
{
    for (int turn = 0; turn < TURNS; turn++) {
        (void)replica_turn(pair->primary, pair->now_ns, &pair->out);
        if (pair->out.count == 0) break;
        pair->lost = pair->lost || lose;
        for (unsigned i = 0; i < pair->out.count; i++) {
            CHECK(wire_unpack(&pair->out.messages[i], NULL) == STATUS_OK);
            if (!lose) deliver(pair, &pair->out.messages[i]);
        }
        outbox_clear(&pair->out);
    }
    send_all(&pair->clients);
}

static void say_hello(struct pair *pair, uint8_t how)
{
    struct fuzz_tables tables;
    fuzz_tables_init(&tables, (Anthill__OptimizerKind)(how % 7));
    tables.rows.consistency = tables.weights.consistency = (Anthill__ConsistencyMode)(how / 7 % 3);
    tables.rows.evict = (Anthill__EvictKind)(how / 21 % 3);
    Anthill__TableSpec *specs[] = {&tables.rows, &tables.weights};
    Anthill__Hello hello = ANTHILL__HELLO__INIT;
    hello.n_tables = 2;
    hello.tables = specs;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.map_version = 1;
    envelope.session = 1;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    const struct message message = {.peer = 1, .envelope = &envelope};
    replica_handle(pair->primary, pair->now_ns, &message, &pair->clients);
}

static void pair_init(struct pair *pair, uint8_t how)
{
    *pair = (struct pair){.now_ns = 1, .primary = create(PRIMARY), .backup = create(BACKUP)};
    replica_serve(pair->primary, 1, &pair->clients);
    replica_follow(pair->backup, 2, PRIMARY);
    say_hello(pair, how);
    replica_set_backup(pair->primary, 2, BACKUP, false, &pair->clients);
    replicate(pair, false);
    replica_set_backup(pair->primary, 2, BACKUP, true, &pair->clients);
}

static void pair_deinit(struct pair *pair)
{
    replica_destroy(pair->primary);
    replica_destroy(pair->backup);
    outbox_deinit(&pair->clients);
    outbox_deinit(&pair->out);
}

/* What a backup gets, or a primary. */
static void make_up(struct pair *pair, struct message *message, bool fits)
{
    Anthill__Replicate *body = message->envelope->replicate;
    if (message->envelope->body_case == ANTHILL__ENVELOPE__BODY_REPLICATE_REPLY) {
        Anthill__ReplicateReply *reply = message->envelope->replicate_reply;
        if (fits) reply->stream = pair->stream;
        pair->made_up = true;
        replica_answered(pair->primary, pair->now_ns, reply, &pair->clients);
    } else if (message->envelope->body_case == ANTHILL__ENVELOPE__BODY_REPLICATE) {
        pair->made_up = true;
        if (fits) {
            body->primary_incarnation = PRIMARY;
            body->stream = pair->stream;
            body->index = pair->index + 1;
        }
        deliver(pair, message);
    }
}

static void handle(struct pair *pair, const struct messages_event *event)
{
    struct message message;
    pair->now_ns += messages_pause_ns(event->pause);
    if (messages_pause_ns(event->pause) > 0)
        replica_tick(pair->primary, pair->now_ns, &pair->clients);
    if (messages_unpack(event, event->kind % 16, &message)) {
        if ((event->kind & 0x80) == 0) {
            make_up(pair, &message, (event->kind & 0x40) != 0);
        } else {
            if ((event->kind & 0x40) != 0)
                message.envelope->session = message.envelope->map_version = 1;
            replica_handle(pair->primary, pair->now_ns, &message, &pair->clients);
        }
        wire_message_deinit(&message);
    }
    replicate(pair, (event->kind & 0x20) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct messages_event event = {.kind = 0};
    struct pair pair;
    pair_init(&pair, fuzz_byte(&input));
    while (messages_next(&input, &event))
        handle(&pair, &event);
    struct replica_view view;
    replica_view(pair.primary, &view);
    if (!pair.made_up && !pair.lost && view.backup_complete) {
        CHECK(shard_checksum(replica_shard(pair.primary)) ==
              shard_checksum(replica_shard(pair.backup)));
    }
    if ((event.kind & 0x10) != 0) replica_serve(pair.backup, 3, &pair.clients);
    replica_tick(pair.backup, pair.now_ns, &pair.clients);
    send_all(&pair.clients);
    pair_deinit(&pair);
    return 0;
}
