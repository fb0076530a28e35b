/* A primary and its backup over a link that may lose, repeat and reorder what it carries. */
#include "ps/replica.h"

#include "ps/gradient_ages.h"
#include "tests/unit/ps/ps_fixture.h"

#define MS       UINT64_C(1000000)
#define LINK_MAX 256
#define TABLES   5

struct link {
    struct message items[LINK_MAX];
    unsigned count;
};

struct pair {
    struct replica *replicas[2];
    struct link to[2]; /* messages for each */
    struct outbox clients, out;
    struct spec_fixture specs[TABLES];
    struct rng rng;
    uint64_t now_ns, sequence[3], lost_percent;
    uint64_t idle_ns;   /* after which sessions are forgotten */
    uint64_t pulled_ns; /* what pushes say of the pull before */
    uint64_t answered;  /* replies to clients */
};

static const uint64_t incarnations[2] = {100, 200};

static void link_put(struct pair *pair, unsigned target, struct outbox *outbox)
{
    struct link *link = &pair->to[target];
    for (unsigned i = 0; i < outbox->count; i++) {
        struct message *message = &outbox->messages[i];
        struct error error;
        if (rng_below(&pair->rng, 100) < pair->lost_percent || link->count == LINK_MAX) continue;
        assert_int_equal(wire_unpack(message, &error), STATUS_OK);
        link->items[link->count++] = *message;
        *message = (struct message){0};
    }
    outbox_clear(outbox);
}

static struct message link_take(struct pair *pair, unsigned target)
{
    struct link *link = &pair->to[target];
    unsigned place = pair->lost_percent == 0 ? 0 : (unsigned)rng_below(&pair->rng, link->count);
    struct message message = link->items[place];
    link->count--;
    memmove(&link->items[place], &link->items[place + 1],
            (link->count - place) * sizeof link->items[0]);
    return message;
}

/* One message, and what `of` has to say. */
static void step(struct pair *pair, unsigned of)
{
    struct replica *replica = pair->replicas[of];
    replica_turn(replica, pair->now_ns, &pair->out);
    link_put(pair, 1 - of, &pair->out);
    if (pair->to[of].count == 0) return;
    struct message message = link_take(pair, of);
    if (message.envelope->body_case == ANTHILL__ENVELOPE__BODY_REPLICATE) {
        replica_take(replica, &message, &pair->out);
        link_put(pair, 1 - of, &pair->out);
    } else {
        unsigned before = pair->clients.count;
        replica_answered(replica, pair->now_ns, message.envelope->replicate_reply, &pair->clients);
        pair->answered += pair->clients.count - before;
    }
    wire_message_deinit(&message);
}

static void settle(struct pair *pair)
{
    pair->lost_percent = 0;
    for (unsigned i = 0; i < 4000; i++) {
        step(pair, i % 2);
        if (i % 16 == 0) pair->now_ns += 10 * MS;
    }
    assert_int_equal(pair->to[0].count + pair->to[1].count, 0);
}

static void create(struct pair *pair, unsigned which)
{
    const struct replica_options options = {.shard = {.server = which,
                                                      .incarnation = incarnations[which],
                                                      .session_idle_ns = pair->idle_ns},
                                            .index = 3};
    assert_int_equal(replica_create(&pair->replicas[which], &options), STATUS_OK);
}

static void pair_init(struct pair *pair, uint64_t seed)
{
    *pair = (struct pair){.now_ns = 5, .rng = rng_make(seed), .idle_ns = MS};
    create(pair, 0);
    create(pair, 1);
    fixture_sparse(&pair->specs[0], "plain", 4, SGD);
    fixture_sparse(&pair->specs[1], "bounded", 3, ADAGRAD);
    pair->specs[1].spec.evict = ANTHILL__EVICT_KIND__EVICT_AGE;
    pair->specs[1].spec.rows_max = 40;
    pair->specs[1].spec.admit_after = 2;
    pair->specs[1].spec.evict_seconds = 1;
    pair->specs[1].spec.init = ANTHILL__INIT_KIND__INIT_NORMAL;
    pair->specs[1].spec.init_scale = 0.3f;
    fixture_sparse(&pair->specs[2], "summed", 2, ADAM);
    pair->specs[2].spec.consistency = BSP;
    fixture_sparse(&pair->specs[3], "narrow", 5, ADAGRAD);
    pair->specs[3].spec.storage = ANTHILL__STORAGE_KIND__STORAGE_BF16;
    pair->specs[3].spec.init = ANTHILL__INIT_KIND__INIT_UNIFORM;
    pair->specs[3].spec.init_scale = 0.5f;
    fixture_dense(&pair->specs[4], "weights", ADAM);
    fixture_tensor(&pair->specs[4], "a", 3, 5, ANTHILL__INIT_KIND__INIT_NORMAL, 0.01f);
    fixture_tensor(&pair->specs[4], "b", 1, 7, ANTHILL__INIT_KIND__INIT_ZERO, 0);
}

static void pair_deinit(struct pair *pair)
{
    for (unsigned i = 0; i < 2; i++) {
        while (pair->to[i].count > 0) {
            struct message message = link_take(pair, i);
            wire_message_deinit(&message);
        }
        replica_destroy(pair->replicas[i]);
    }
    outbox_deinit(&pair->clients);
    outbox_deinit(&pair->out);
}

/* ---- requests ---- */

static void handle(struct pair *pair, unsigned primary, Anthill__Envelope *envelope,
                   const void *keys, size_t key_bytes, const void *values, size_t value_bytes)
{
    uint8_t *memory[2] = {NULL, NULL};
    struct message message = {.peer = envelope->session, .envelope = envelope};
    if (keys != NULL) {
        message.payload[message.payload_count++] = fixture_frame(&memory[0], keys, key_bytes);
    }
    if (values != NULL) {
        message.payload[message.payload_count++] = fixture_frame(&memory[1], values, value_bytes);
    }
    unsigned before = pair->clients.count;
    replica_handle(pair->replicas[primary], pair->now_ns, &message, &pair->clients);
    pair->answered += pair->clients.count - before;
    free(memory[0]);
    free(memory[1]);
}

static void hello(struct pair *pair, unsigned primary, uint64_t session)
{
    Anthill__Hello hello = ANTHILL__HELLO__INIT;
    Anthill__TableSpec *tables[TABLES];
    for (unsigned i = 0; i < TABLES; i++)
        tables[i] = &pair->specs[i].spec;
    hello.n_tables = TABLES;
    hello.tables = tables;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    handle(pair, primary, &envelope, NULL, 0, NULL, 0);
}

static void push(struct pair *pair, unsigned primary, uint64_t session, uint64_t sequence,
                 uint32_t table, uint64_t clock, const uint64_t *keys, uint32_t count,
                 const float *grads, size_t floats)
{
    Anthill__Push body = ANTHILL__PUSH__INIT;
    body.table = table;
    body.key_count = count;
    body.clock = clock;
    body.rate_scale = 1;
    body.pulled_ns = pair->pulled_ns;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.sequence = sequence;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PUSH;
    envelope.push = &body;
    handle(pair, primary, &envelope, keys, count * sizeof *keys, grads, floats * sizeof *grads);
}

static void push_one(struct pair *pair, unsigned primary, uint64_t sequence, uint64_t key,
                     float gradient)
{
    const float grads[4] = {gradient, gradient, gradient, gradient};
    push(pair, primary, 1, sequence, 0, 0, &key, 1, grads, 4);
}

static void pull(struct pair *pair, unsigned primary, uint64_t session, uint32_t table,
                 const uint64_t *keys, uint32_t count)
{
    Anthill__Pull body = ANTHILL__PULL__INIT;
    body.table = table;
    body.key_count = count;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &body;
    handle(pair, primary, &envelope, keys, count * sizeof *keys, NULL, 0);
}

static void advance(struct pair *pair, unsigned primary, uint64_t session, uint64_t sequence,
                    uint64_t clock, bool leave)
{
    Anthill__Advance body = ANTHILL__ADVANCE__INIT;
    body.clock = clock;
    body.leave = leave;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.sequence = sequence;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_ADVANCE;
    envelope.advance = &body;
    handle(pair, primary, &envelope, NULL, 0, NULL, 0);
}

/* The reply that came last. */
static const Anthill__Envelope *last_reply(struct pair *pair)
{
    assert_true(pair->clients.count > 0);
    struct message *message = &pair->clients.messages[pair->clients.count - 1];
    struct error error;
    if (message->envelope == NULL) assert_int_equal(wire_unpack(message, &error), STATUS_OK);
    return message->envelope;
}

static float value_of(struct pair *pair, unsigned primary, uint64_t key)
{
    pull(pair, primary, 1, 0, &key, 1);
    assert_int_equal(last_reply(pair)->body_case, ANTHILL__ENVELOPE__BODY_PULL_REPLY);
    float value;
    memcpy(&value, pair->clients.messages[pair->clients.count - 1].payload[0].data, sizeof value);
    return value;
}

/* Anything that changes rows, sums, clocks or sessions; keys are few, so that they meet. */
static void act(struct pair *pair, unsigned primary)
{
    uint64_t session = 1 + rng_below(&pair->rng, 2), keys[16];
    uint32_t table = (uint32_t)rng_below(&pair->rng, TABLES);
    uint32_t count = 1 + (uint32_t)rng_below(&pair->rng, 16);
    float grads[16 * 8];
    for (unsigned i = 0; i < 16; i++)
        keys[i] = rng_below(&pair->rng, 60);
    for (unsigned i = 0; i < 16 * 8; i++)
        grads[i] = (float)rng_below(&pair->rng, 7) - 3;
    size_t floats = count * pair->specs[table].spec.dim;
    if (table == 4) {
        count = 1;
        keys[0] = rng_below(&pair->rng, 2) << 32;
        floats = keys[0] == 0 ? 15 : 7;
    }
    uint64_t clock = pair->sequence[session] / 8;
    switch (rng_below(&pair->rng, 8)) {
    case 0:
    case 1:
        pull(pair, primary, session, table, keys, count);
        break;
    case 2:
        advance(pair, primary, session, ++pair->sequence[session], clock,
                rng_below(&pair->rng, 8) == 0);
        break;
    case 3:
        pair->now_ns += 300 * MS;
        replica_tick(pair->replicas[primary], pair->now_ns, &pair->clients);
        hello(pair, primary, session); /* it may have expired */
        break;
    default:
        push(pair, primary, session, ++pair->sequence[session], table, clock, keys, count, grads,
             floats);
    }
    if (rng_below(&pair->rng, 40) == 0) {
        const uint64_t gone[1] = {session};
        replica_sessions_gone(pair->replicas[primary], gone, 1, &pair->clients);
    }
    outbox_clear(&pair->clients);
}

static void assert_equal_copies(struct pair *pair)
{
    uint64_t sums[2];
    for (unsigned i = 0; i < 2; i++)
        sums[i] = shard_checksum(replica_shard(pair->replicas[i]));
    if (sums[0] != sums[1]) fail_msg("the copies differ");
}

static void begin_pair(struct pair *pair, uint64_t version)
{
    replica_serve(pair->replicas[0], version, &pair->clients);
    replica_follow(pair->replicas[1], version, incarnations[0]);
    replica_set_backup(pair->replicas[0], version, incarnations[1], false, &pair->clients);
}

/* A session is open, and its tables are at the backup. */
static void start(struct pair *pair)
{
    pair_init(pair, 1);
    begin_pair(pair, 1);
    hello(pair, 0, 1);
    settle(pair);
}

static struct replica_view view_of(const struct pair *pair, unsigned which)
{
    struct replica_view view;
    replica_view(pair->replicas[which], &view);
    return view;
}

/* ---- the tests ---- */

static void replies_wait_until_the_backup_has_the_push(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    assert_true(view_of(&pair, 0).backup_complete);
    pair.answered = 0;
    push_one(&pair, 0, 1, 9, 2);
    assert_int_equal(pair.answered, 0);
    push_one(&pair, 0, 1, 9, 2); /* a repeat waits for what it repeats */
    assert_int_equal(pair.answered, 0);
    assert_int_equal(view_of(&pair, 0).held, 2);
    assert_true(value_of(&pair, 0, 9) == -2); /* a pull does not wait */
    settle(&pair);
    assert_int_equal(pair.answered, 3);
    assert_true(last_reply(&pair)->push_reply->repeated_push);
    assert_equal_copies(&pair);
    pair_deinit(&pair);
}

static void without_a_backup_nothing_waits(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    pair.answered = 0;
    push_one(&pair, 0, 1, 9, 2);
    assert_int_equal(pair.answered, 0);
    unsigned before = pair.clients.count;
    replica_set_backup(pair.replicas[0], 2, 0, false, &pair.clients);
    assert_int_equal(pair.clients.count - before, 1);
    push_one(&pair, 0, 2, 9, 2);
    assert_int_equal(pair.answered, 1);
    pair_deinit(&pair);
}

static void a_copy_is_equal_whatever_happens_to_the_messages(void **state)
{
    (void)state;
    uint64_t seed = fixture_seed();
    for (unsigned run = 0; run < 40; run++) {
        struct pair pair;
        pair_init(&pair, seed + run);
        replica_serve(pair.replicas[0], 1, &pair.clients);
        hello(&pair, 0, 1);
        hello(&pair, 0, 2);
        /* The backup comes when there are rows already, or before. */
        for (unsigned i = 0; i < run % 3 * 200; i++)
            act(&pair, 0);
        begin_pair(&pair, 2);
        pair.lost_percent = run % 2 == 0 ? 0 : 20;
        for (unsigned i = 0; i < 400; i++) {
            act(&pair, 0);
            step(&pair, 0);
            step(&pair, 1);
        }
        settle(&pair);
        assert_true(view_of(&pair, 0).backup_complete);
        assert_equal_copies(&pair);
        pair_deinit(&pair);
    }
}

static void a_new_copy_has_each_trainer_at_its_own_clock(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, 1);
    replica_serve(pair.replicas[0], 1, &pair.clients);
    hello(&pair, 0, 1);
    hello(&pair, 0, 2);
    advance(&pair, 0, 1, 1, 0, false);
    advance(&pair, 0, 2, 1, 0, false);
    advance(&pair, 0, 1, 2, 5, false); /* the first is ahead of the second */
    begin_pair(&pair, 2);
    settle(&pair);
    assert_true(view_of(&pair, 0).backup_complete);
    assert_equal_copies(&pair);
    pair_deinit(&pair);
}

static void a_copy_takes_no_stream_of_a_map_that_it_has_not_heard(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    push_one(&pair, 0, 1, 9, 1);
    settle(&pair);
    /* It was given up, and is the backup again: the primary knows, the copy does not yet. */
    replica_set_backup(pair.replicas[0], 2, 0, false, &pair.clients);
    replica_set_backup(pair.replicas[0], 3, incarnations[1], false, &pair.clients);
    for (unsigned i = 0; i < 100; i++) {
        step(&pair, 0);
        step(&pair, 1);
    }
    assert_false(view_of(&pair, 0).backup_complete);
    replica_forget(pair.replicas[1]);
    replica_follow(pair.replicas[1], 3, incarnations[0]);
    settle(&pair);
    assert_true(view_of(&pair, 0).backup_complete);
    assert_equal_copies(&pair);
    pair_deinit(&pair);
}

static void a_promoted_copy_has_what_was_acknowledged_and_knows_repeats(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    for (uint64_t i = 1; i <= 5; i++)
        push_one(&pair, 0, i, 9, 1);
    settle(&pair);
    push_one(&pair, 0, 6, 9, 1); /* does not reach the backup */
    replica_serve(pair.replicas[1], 2, &pair.clients);
    replica_set_backup(pair.replicas[1], 2, 0, false, &pair.clients);
    hello(&pair, 1, 1);
    assert_int_equal(last_reply(&pair)->hello_reply->sequence_next, 6);
    assert_true(last_reply(&pair)->hello_reply->incarnation != incarnations[1]);
    push_one(&pair, 1, 5, 9, 1);
    assert_true(last_reply(&pair)->push_reply->repeated_push);
    push_one(&pair, 1, 6, 9, 1);
    assert_false(last_reply(&pair)->push_reply->repeated_push);
    assert_true(value_of(&pair, 1, 9) == -6);
    pair_deinit(&pair);
}

static void a_primary_that_was_replaced_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    replica_serve(pair.replicas[1], 2, &pair.clients);
    shard_set_map_version(replica_shard(pair.replicas[1]), 2);
    pair.answered = 0;
    push_one(&pair, 0, 1, 9, 1);
    step(&pair, 0);
    step(&pair, 1);
    step(&pair, 0);
    assert_int_equal(pair.answered, 0);
    assert_true(view_of(&pair, 0).fenced);
    push_one(&pair, 0, 2, 9, 1);
    assert_int_equal(last_reply(&pair)->body_case, ANTHILL__ENVELOPE__BODY_ERROR);
    assert_int_equal(last_reply(&pair)->error->status, STATUS_BUSY);
    pair_deinit(&pair);
}

static void a_drained_primary_becomes_a_backup_without_a_copy(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    for (unsigned i = 0; i < 100; i++)
        act(&pair, 0);
    replica_freeze(pair.replicas[0]);
    settle(&pair);
    assert_true(view_of(&pair, 0).drained);
    push_one(&pair, 0, ++pair.sequence[1], 9, 1);
    assert_int_equal(last_reply(&pair)->error->status, STATUS_BUSY);
    replica_serve(pair.replicas[1], 2, &pair.clients);
    replica_set_backup(pair.replicas[1], 2, incarnations[0], true, &pair.clients);
    replica_follow(pair.replicas[0], 2, incarnations[1]);
    hello(&pair, 1, 1);
    hello(&pair, 1, 2);
    for (unsigned i = 0; i < 100; i++) {
        act(&pair, 1);
        step(&pair, 0);
        step(&pair, 1);
    }
    uint64_t shipped = view_of(&pair, 1).shipped;
    settle(&pair);
    assert_true(view_of(&pair, 1).backup_complete);
    assert_int_equal(view_of(&pair, 1).shipped, shipped); /* nothing was copied */
    assert_equal_copies(&pair);
    pair_deinit(&pair);
}

/* The shard goes to the other one, which has all of it, and later back. */
static void a_copy_that_is_promoted_late_forgets_neither_sessions_nor_rows(void **state)
{
    (void)state;
    const uint64_t late_ns = 1000 * 1000 * MS, idle_ns = 600 * 1000 * MS;
    struct pair pair;
    pair_init(&pair, 1);
    pair.idle_ns = idle_ns;
    replica_destroy(pair.replicas[0]);
    replica_destroy(pair.replicas[1]);
    create(&pair, 0);
    create(&pair, 1);
    pair.specs[1].spec.admit_after = 0;
    pair.specs[1].spec.evict_seconds = 60;
    begin_pair(&pair, 1);
    hello(&pair, 0, 1);
    replica_tick(pair.replicas[0], pair.now_ns, &pair.clients);
    const uint64_t keys[2] = {7, 8};
    pull(&pair, 0, 1, 1, keys, 2);
    replica_freeze(pair.replicas[0]);
    settle(&pair);
    replica_serve(pair.replicas[1], 2, &pair.clients);
    replica_set_backup(pair.replicas[1], 2, incarnations[0], true, &pair.clients);
    replica_follow(pair.replicas[0], 2, incarnations[1]);
    hello(&pair, 1, 1);
    for (uint64_t i = 1; i <= 50; i++) {
        const float grads[6] = {1, 1, 1, 1, 1, 1};
        pair.now_ns += late_ns / 50;
        push(&pair, 1, 1, i, 1, 0, keys, 2, grads, 6);
        replica_tick(pair.replicas[1], pair.now_ns, &pair.clients);
        settle(&pair);
    }
    assert_equal_copies(&pair);
    replica_serve(pair.replicas[0], 3, &pair.clients);
    for (unsigned i = 0; i < 100; i++)
        replica_tick(pair.replicas[0], pair.now_ns += MS, &pair.clients);
    assert_int_equal(table_row_count(shard_table(replica_shard(pair.replicas[0]), 1)), 2);
    struct shard_stats stats;
    shard_stats(replica_shard(pair.replicas[0]), &stats);
    assert_int_equal(stats.sessions, 1);
    /* From here on they are as old as they are. */
    pair.now_ns += late_ns;
    for (unsigned i = 0; i < 100; i++)
        replica_tick(pair.replicas[0], pair.now_ns += MS, &pair.clients);
    assert_int_equal(table_row_count(shard_table(replica_shard(pair.replicas[0]), 1)), 0);
    shard_stats(replica_shard(pair.replicas[0]), &stats);
    assert_int_equal(stats.sessions, 0);
    pair_deinit(&pair);
}

/* Times and updates of what is summed are the primary's own: they are not a later one's. */
static void a_primary_that_becomes_a_copy_forgets_how_old_gradients_were(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    advance(&pair, 0, 1, 1, 0, false);
    const uint64_t key = 7;
    const float grads[2] = {1, 1};
    pair.pulled_ns = 3;
    push(&pair, 0, 1, 2, 2, 0, &key, 1, grads, 2);
    const struct gradient_ages *ages = shard_table_ages(replica_shard(pair.replicas[0]), 2);
    assert_int_equal(ages->held_count, 1);
    replica_freeze(pair.replicas[0]);
    settle(&pair);
    replica_serve(pair.replicas[1], 2, &pair.clients);
    replica_set_backup(pair.replicas[1], 2, incarnations[0], true, &pair.clients);
    replica_follow(pair.replicas[0], 2, incarnations[1]);
    settle(&pair);
    assert_int_equal(ages->held_count, 0);
    pair_deinit(&pair);
}

static void a_copy_that_stands_elsewhere_is_lost_and_replies_wait(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    push_one(&pair, 0, 1, 9, 1); /* not drained */
    replica_serve(pair.replicas[1], 2, &pair.clients);
    replica_set_backup(pair.replicas[1], 2, incarnations[0], true, &pair.clients);
    replica_follow(pair.replicas[0], 2, incarnations[1]);
    settle(&pair);
    assert_true(view_of(&pair, 1).backup_lost);
    assert_false(view_of(&pair, 1).backup_complete);
    hello(&pair, 1, 1);
    pair.answered = 0;
    push_one(&pair, 1, 1, 9, 1);
    assert_int_equal(pair.answered, 0); /* the coordinator still counts on the backup */
    unsigned before = pair.clients.count;
    replica_set_backup(pair.replicas[1], 3, 0, false, &pair.clients);
    assert_int_equal(pair.clients.count - before, 1);
    replica_set_backup(pair.replicas[1], 4, incarnations[0], false, &pair.clients);
    replica_follow(pair.replicas[0], 4, incarnations[1]);
    settle(&pair);
    assert_true(view_of(&pair, 1).backup_complete);
    assert_equal_copies(&pair);
    pair_deinit(&pair);
}

/* The end of the walk finds empty tables, when all that was sent has been acknowledged. */
static void a_copy_is_complete_though_nothing_is_left_to_send(void **state)
{
    (void)state;
    enum { ROWS = 5000 };
    struct pair pair;
    pair_init(&pair, 1);
    replica_serve(pair.replicas[0], 1, &pair.clients);
    hello(&pair, 0, 1);
    uint64_t keys[ROWS];
    for (unsigned i = 0; i < ROWS; i++)
        keys[i] = i;
    for (unsigned rows = 0; rows <= ROWS; rows += 500) {
        if (rows > 0) pull(&pair, 0, 1, 0, keys, rows);
        begin_pair(&pair, 2 + rows);
        for (unsigned turn = 0; turn < 20; turn++) {
            do {
                step(&pair, 1);
            } while (pair.to[1].count > 0);
            while (pair.to[0].count > 0) {
                struct message message = link_take(&pair, 0);
                replica_answered(pair.replicas[0], pair.now_ns, message.envelope->replicate_reply,
                                 &pair.clients);
                wire_message_deinit(&message);
            }
            replica_turn(pair.replicas[0], pair.now_ns, &pair.out);
            link_put(&pair, 1, &pair.out);
        }
        assert_true(view_of(&pair, 0).backup_complete);
        assert_equal_copies(&pair);
    }
    pair_deinit(&pair);
}

/* Both sides live, but no message passes between them. */
static void a_backup_that_answers_nothing_is_lost(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    pair.now_ns += 60 * 1000 * MS; /* there was nothing to say */
    step(&pair, 0);
    pair.answered = 0;
    push_one(&pair, 0, 1, 9, 1);
    pair.lost_percent = 100;
    for (unsigned i = 0; i < 40; i++) {
        assert_false(view_of(&pair, 0).backup_lost);
        pair.now_ns += 100 * MS;
        step(&pair, 0);
    }
    for (unsigned i = 0; i < 20; i++) {
        pair.now_ns += 100 * MS;
        step(&pair, 0);
    }
    assert_true(view_of(&pair, 0).backup_lost);
    assert_false(view_of(&pair, 0).backup_complete);
    assert_int_equal(pair.answered, 0);
    unsigned before = pair.clients.count;
    replica_set_backup(pair.replicas[0], 2, 0, false, &pair.clients);
    assert_int_equal(pair.clients.count - before, 1);
    pair_deinit(&pair);
}

/* It says that it has each part of a change that it cannot take yet. */
static void a_backup_that_gets_a_large_change_slowly_is_not_lost(void **state)
{
    (void)state;
    enum { KEYS = 50000, DIM = 128 };
    struct pair pair;
    pair_init(&pair, 1);
    pair.specs[0].spec.dim = DIM;
    begin_pair(&pair, 1);
    hello(&pair, 0, 1);
    settle(&pair);
    uint64_t *keys = malloc(KEYS * sizeof *keys);
    float *grads = calloc((size_t)KEYS * DIM, sizeof *grads);
    for (unsigned i = 0; i < KEYS; i++)
        keys[i] = i;
    push(&pair, 0, 1, 1, 0, 0, keys, KEYS, grads, (size_t)KEYS * DIM);
    step(&pair, 0);
    assert_true(pair.to[1].count >= 6);
    while (pair.to[1].count > 0) {
        step(&pair, 1);
        pair.now_ns += 2000 * MS;
        while (pair.to[0].count > 0) {
            struct message message = link_take(&pair, 0);
            replica_answered(pair.replicas[0], pair.now_ns, message.envelope->replicate_reply,
                             &pair.clients);
            wire_message_deinit(&message);
        }
        replica_turn(pair.replicas[0], pair.now_ns, &pair.out);
        outbox_clear(&pair.out); /* it is on its way already */
    }
    assert_false(view_of(&pair, 0).backup_lost);
    assert_true(view_of(&pair, 0).backup_complete);
    free(keys);
    free(grads);
    pair_deinit(&pair);
}

static void changes_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const struct {
        Anthill__ChangeKind kind;
        uint32_t table, keys;
        size_t floats;
    } cases[] = {
        {ANTHILL__CHANGE_KIND__CHANGE_TABLE, 0, 0, 0},
        {ANTHILL__CHANGE_KIND__CHANGE_ROWS, 9, 1, 4},
        {ANTHILL__CHANGE_KIND__CHANGE_ROWS, 0, 2, 8},
        {ANTHILL__CHANGE_KIND__CHANGE_ROWS, 0, 1, 3},
        {ANTHILL__CHANGE_KIND__CHANGE_ROWS, 4, 1, 45},
        {ANTHILL__CHANGE_KIND__CHANGE_CREATED, 4, 1, 0},
        {ANTHILL__CHANGE_KIND__CHANGE_SUMS, 2, 1, 1},
        {ANTHILL__CHANGE_KIND__CHANGE_REMOVED, 0, 2, 0},
        {(Anthill__ChangeKind)77, 0, 0, 0},
    };
    struct pair pair;
    start(&pair);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const uint64_t key = UINT64_C(7) << 32;
        const float floats[64] = {0};
        Anthill__Change change = ANTHILL__CHANGE__INIT, *changes[1] = {&change};
        change.kind = cases[i].kind;
        change.table = cases[i].table;
        change.key_count = cases[i].keys;
        Anthill__Replicate body = ANTHILL__REPLICATE__INIT;
        body.changes = changes;
        body.n_changes = 1;
        Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
        envelope.body_case = ANTHILL__ENVELOPE__BODY_REPLICATE;
        envelope.replicate = &body;
        struct message message = {
            .envelope = &envelope,
            .payload = {{.data = (void *)&key, .bytes = sizeof key},
                        {.data = (void *)floats, .bytes = cases[i].floats * sizeof floats[0]}},
            .payload_count = 2};
        struct error error = {0};
        enum status status = shard_take_changes(replica_shard(pair.replicas[1]), &message, &error);
        if (status == STATUS_OK) fail_msg("case %zu is taken", i);
        assert_true(error.text[0] != '\0');
    }
    pair_deinit(&pair);
}

/* Each of them fits a Hello; all of them are too long for one message. */
static void a_new_copy_gets_tables_however_long_their_specs_are(void **state)
{
    (void)state;
    enum { LONG_TABLES = 3, TENSORS = 3000, NAME = 250 };
    struct pair pair;
    pair_init(&pair, 1);
    replica_serve(pair.replicas[0], 1, &pair.clients);
    Anthill__TensorSpec *tensors = calloc(TENSORS, sizeof *tensors);
    Anthill__TensorSpec **pointers = calloc(TENSORS, sizeof(void *));
    char *names = malloc(TENSORS * (NAME + 1));
    for (unsigned i = 0; i < TENSORS; i++) {
        anthill__tensor_spec__init(&tensors[i]);
        tensors[i].name = names + (size_t)i * (NAME + 1);
        tensors[i].rows = tensors[i].cols = 1;
        sprintf(tensors[i].name, "%0*u", NAME, i);
        pointers[i] = &tensors[i];
    }
    for (unsigned i = 0; i < LONG_TABLES; i++) {
        struct spec_fixture spec = {0};
        const char *table_names[LONG_TABLES] = {"first", "second", "third"};
        fixture_dense(&spec, table_names[i], SGD);
        spec.spec.tensors = pointers;
        spec.spec.n_tensors = TENSORS;
        Anthill__TableSpec *tables[1] = {&spec.spec};
        Anthill__Hello hello = ANTHILL__HELLO__INIT;
        hello.n_tables = 1;
        hello.tables = tables;
        Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
        envelope.session = 1;
        envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO;
        envelope.hello = &hello;
        assert_true(anthill__envelope__get_packed_size(&envelope) < WIRE_HEADER_BYTES_MAX);
        handle(&pair, 0, &envelope, NULL, 0, NULL, 0);
        assert_int_equal(last_reply(&pair)->body_case, ANTHILL__ENVELOPE__BODY_HELLO_REPLY);
    }
    begin_pair(&pair, 2);
    settle(&pair);
    assert_true(view_of(&pair, 0).backup_complete);
    assert_int_equal(shard_table_count(replica_shard(pair.replicas[1])), LONG_TABLES);
    assert_equal_copies(&pair);
    free(tensors);
    free(pointers);
    free(names);
    pair_deinit(&pair);
}

/* A push whose rows fill more than one message is there whole or not at all. */
static void a_large_change_is_taken_whole(void **state)
{
    (void)state;
    enum { KEYS = 50000, DIM = 32 };
    struct pair pair;
    pair_init(&pair, 1);
    pair.specs[0].spec.dim = DIM;
    begin_pair(&pair, 1);
    hello(&pair, 0, 1);
    settle(&pair);
    uint64_t *keys = malloc(KEYS * sizeof *keys);
    float *grads = malloc((size_t)KEYS * DIM * sizeof *grads);
    for (unsigned i = 0; i < KEYS; i++)
        keys[i] = i;
    for (unsigned i = 0; i < KEYS * DIM; i++)
        grads[i] = 1;
    uint64_t before = view_of(&pair, 0).shipped;
    push(&pair, 0, 1, 1, 0, 0, keys, KEYS, grads, (size_t)KEYS * DIM);
    assert_true(view_of(&pair, 0).shipped > before + 1);
    step(&pair, 0); /* all go */
    struct table *copied = shard_table(replica_shard(pair.replicas[1]), 0);
    unsigned more = pair.to[1].count;
    for (unsigned i = 0; i + 1 < more; i++) {
        step(&pair, 1);
        assert_int_equal(table_row_count(copied), 0);
    }
    step(&pair, 1);
    assert_int_equal(table_row_count(copied), KEYS);
    settle(&pair);
    assert_equal_copies(&pair);
    free(keys);
    free(grads);
    pair_deinit(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_wait_until_the_backup_has_the_push),
        cmocka_unit_test(without_a_backup_nothing_waits),
        cmocka_unit_test(a_copy_is_equal_whatever_happens_to_the_messages),
        cmocka_unit_test(a_new_copy_has_each_trainer_at_its_own_clock),
        cmocka_unit_test(a_copy_takes_no_stream_of_a_map_that_it_has_not_heard),
        cmocka_unit_test(a_promoted_copy_has_what_was_acknowledged_and_knows_repeats),
        cmocka_unit_test(a_primary_that_was_replaced_is_refused),
        cmocka_unit_test(a_drained_primary_becomes_a_backup_without_a_copy),
        cmocka_unit_test(a_copy_that_is_promoted_late_forgets_neither_sessions_nor_rows),
        cmocka_unit_test(a_primary_that_becomes_a_copy_forgets_how_old_gradients_were),
        cmocka_unit_test(a_copy_that_stands_elsewhere_is_lost_and_replies_wait),
        cmocka_unit_test(a_copy_is_complete_though_nothing_is_left_to_send),
        cmocka_unit_test(a_backup_that_answers_nothing_is_lost),
        cmocka_unit_test(a_backup_that_gets_a_large_change_slowly_is_not_lost),
        cmocka_unit_test(changes_that_make_no_sense_are_refused),
        cmocka_unit_test(a_new_copy_gets_tables_however_long_their_specs_are),
        cmocka_unit_test(a_large_change_is_taken_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
