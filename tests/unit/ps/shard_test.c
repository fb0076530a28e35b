/* The shard's answers to Hello, Pull, Push and Advance, one story a test. */
#include <math.h>

#include "tests/unit/ps/ps_fixture.h"

#include "ps/shared_block.h"

static int set_up(void **state)
{
    static struct shard_fixture fixture;
    shard_fixture_init(&fixture);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    shard_fixture_deinit(*state);
    return 0;
}

static void assert_refused(struct shard_fixture *fixture, enum status status, const char *text)
{
    struct error error = {0};
    assert_int_equal(fixture_status(fixture, &error), status);
    if (strstr(error.text, text) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.text, text);
}

static void hello_creates_tables_and_says_where_the_session_stands(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture nodes, weights;
    fixture_sparse(&nodes, "nodes", 4, SGD);
    fixture_dense(&weights, "weights", ADAM);
    fixture_tensor(&weights, "w", 3, 2, ANTHILL__INIT_KIND__INIT_ONE, 0);
    const struct spec_fixture *specs[] = {&nodes, &weights};
    for (int again = 0; again < 2; again++) {
        fixture_hello(fixture, 9, specs, 2);
        const Anthill__Envelope *reply = fixture_reply(fixture, 0);
        assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_HELLO_REPLY);
        assert_int_equal(reply->request, 1);
        assert_int_equal(reply->session, 9);
        assert_int_equal(reply->hello_reply->incarnation, 77);
        assert_int_equal(reply->hello_reply->sequence_next, 1);
        assert_int_equal(reply->hello_reply->n_table_ids, 2);
        assert_int_equal(reply->hello_reply->table_ids[0], 0);
        assert_int_equal(reply->hello_reply->table_ids[1], 1);
        assert_int_equal(fixture->outbox.messages[0].peer, 1009);
        assert_int_equal(shard_table_count(fixture->shard), 2);
    }
    float grad[4] = {1, 0, 0, 0};
    uint64_t key = 3;
    fixture_push(fixture, 9, 1, 0, 0, &key, 1, grad, 4);
    fixture_hello(fixture, 9, specs, 2);
    assert_int_equal(fixture_reply(fixture, 0)->hello_reply->sequence_next, 2);
}

static void hello_with_another_spec_names_the_difference_and_changes_nothing(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture first, fresh, other;
    fixture_sparse(&first, "nodes", 4, SGD);
    fixture_hello_one(fixture, 9, &first);
    fixture_sparse(&fresh, "fresh", 4, SGD);
    fixture_sparse(&other, "nodes", 8, SGD);
    const struct spec_fixture *specs[] = {&fresh, &other};
    fixture_hello(fixture, 10, specs, 2);
    assert_refused(fixture, STATUS_CONFIG, "\"nodes\": dim differs: 4 and 8");
    assert_int_equal(shard_table_count(fixture->shard), 1);
    fixture_sparse(&other, "nodes", 0, SGD);
    fixture_hello_one(fixture, 10, &other);
    assert_refused(fixture, STATUS_CONFIG, "\"nodes\": dim 0");
    uint64_t key = 1;
    fixture_pull(fixture, 10, 1, 0, 0, &key, 1);
    assert_refused(fixture, STATUS_NOT_FOUND, "session 10 unknown");
    fixture_hello_one(fixture, 0, &first);
    assert_refused(fixture, STATUS_INVALID, "without a session");
}

static void unknown_sessions_are_told_to_say_hello(void **state)
{
    struct shard_fixture *fixture = *state;
    uint64_t key = 1;
    float grad = 1;
    fixture_pull(fixture, 4, 1, 0, 0, &key, 1);
    assert_refused(fixture, STATUS_NOT_FOUND, "session 4 unknown: say Hello");
    fixture_push(fixture, 4, 1, 0, 0, &key, 1, &grad, 1);
    assert_refused(fixture, STATUS_NOT_FOUND, "session 4 unknown: say Hello");
    fixture_advance(fixture, 4, 1, 1, false);
    assert_refused(fixture, STATUS_NOT_FOUND, "session 4 unknown: say Hello");
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.refused, 3);
    assert_int_equal(stats.trainers, 0);
}

static void repeated_push_is_answered_and_not_applied_twice(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture spec;
    fixture_sparse(&spec, "nodes", 1, SGD);
    fixture_hello_one(fixture, 4, &spec);
    uint64_t key = 7;
    float grad = 3;
    for (int again = 0; again < 3; again++) {
        fixture_push(fixture, 4, 1, 0, 0, &key, 1, &grad, 1);
        const Anthill__Envelope *reply = fixture_reply(fixture, 0);
        assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_PUSH_REPLY);
        assert_int_equal(reply->push_reply->repeated_push, again > 0);
    }
    assert_true(fixture_row(fixture, 4, 0, 7) == -3.0f); /* SGD at rate 1: one step, not three */
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.pushes, 1);
    assert_int_equal(stats.repeated_pushes, 2);
    assert_int_equal(stats.rows, 1);
}

static void requests_that_lie_about_their_size_change_nothing(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture spec, wide, dense;
    fixture_sparse(&spec, "nodes", 2, SGD);
    fixture_sparse(&wide, "wide", 65536, SGD);
    fixture_dense(&dense, "weights", SGD);
    fixture_tensor(&dense, "w", 3, 2, ANTHILL__INIT_KIND__INIT_ONE, 0);
    const struct spec_fixture *specs[] = {&spec, &wide, &dense};
    fixture_hello(fixture, 4, specs, 3);
    uint64_t keys[300] = {1, 2};
    float grads[8] = {0};
    fixture_pull(fixture, 4, 1, 3, 0, keys, 1);
    assert_refused(fixture, STATUS_INVALID, "table 3: there are 3");
    fixture_pull(fixture, 4, 1, 0, 0, keys, 0);
    assert_refused(fixture, STATUS_INVALID, "0 keys");
    fixture_pull(fixture, 4, 1, 1, 0, keys, 300); /* 75 MiB of rows */
    assert_refused(fixture, STATUS_INVALID, "a frame has at most");
    fixture_pull(fixture, 4, 1, 2, 0, keys, 1);
    assert_refused(fixture, STATUS_INVALID, "\"weights\" has no chunk 1 of tensor 0");
    fixture_push(fixture, 4, 1, 0, 0, keys, 2, grads, 3);
    assert_refused(fixture, STATUS_INVALID, "12 bytes of gradients; 16 expected");
    fixture_push(fixture, 4, 0, 0, 0, keys, 2, grads, 4);
    assert_refused(fixture, STATUS_INVALID, "without a sequence");
    fixture_advance(fixture, 4, 0, 1, false);
    assert_refused(fixture, STATUS_INVALID, "without a sequence");

    Anthill__Pull pull = ANTHILL__PULL__INIT;
    pull.key_count = UINT32_MAX;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = 4;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    fixture_send(fixture, &envelope, keys, 16, NULL, 0);
    assert_refused(fixture, STATUS_INVALID, "4294967295 keys in a frame of 16 bytes");
    pull.key_count = 2;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
    assert_refused(fixture, STATUS_INVALID, "0 payload frames; 1 expected");

    Anthill__LeaseRequest lease = ANTHILL__LEASE_REQUEST__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_REQUEST;
    envelope.lease_request = &lease;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
    assert_refused(fixture, STATUS_INVALID, "none that a shard answers");
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.rows, 0);
}

static void gradients_that_are_not_finite_are_refused_whole(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture nodes, weights;
    fixture_sparse(&nodes, "nodes", 1, SGD);
    fixture_dense(&weights, "weights", SGD);
    fixture_tensor(&weights, "layers.0", 1, 2, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    fixture_tensor(&weights, "layers.1", 1, 2, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    const struct spec_fixture *specs[] = {&nodes, &weights};
    fixture_hello(fixture, 4, specs, 2);
    uint64_t keys[2] = {1, 2};
    float grads[2] = {1, NAN};
    fixture_push(fixture, 4, 1, 0, 0, keys, 2, grads, 2);
    assert_refused(fixture, STATUS_INVALID, "\"nodes\": the gradient of key 2 is NaN or infinite");
    assert_true(fixture_row(fixture, 4, 0, 1) == 0.0f);
    uint64_t chunks[2] = {0, UINT64_C(1) << 32};
    float dense_grads[4] = {1, 1, INFINITY, 1};
    fixture_push(fixture, 4, 1, 1, 0, chunks, 2, dense_grads, 4);
    assert_refused(fixture, STATUS_INVALID, "tensor \"layers.1\" is NaN or infinite");
    assert_true(fixture_row(fixture, 4, 1, 0) == 0.0f);
    /* The sequence is free: what was refused may be sent again in order. */
    grads[1] = 2;
    fixture_push(fixture, 4, 1, 0, 0, keys, 2, grads, 2);
    assert_false(fixture_reply(fixture, 0)->push_reply->repeated_push);
    assert_true(fixture_row(fixture, 4, 0, 2) == -2.0f);
}

static void other_slot_maps_are_refused_as_busy(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture spec;
    fixture_sparse(&spec, "nodes", 1, SGD);
    fixture_hello_one(fixture, 4, &spec);
    uint64_t key = 1;
    shard_set_map_version(fixture->shard, 3);
    fixture_pull(fixture, 4, 1, 0, 0, &key, 1);
    assert_refused(fixture, STATUS_BUSY, "slot map 0 is not the shard's, 3");
    shard_set_map_version(fixture->shard, 0);
    assert_true(fixture_row(fixture, 4, 0, 1) == 0.0f);
}

static void full_table_refuses_new_rows_by_name_and_serves_the_others(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture spec;
    fixture_sparse(&spec, "nodes", 1, SGD);
    spec.spec.rows_max = 2;
    fixture_hello_one(fixture, 4, &spec);
    uint64_t keys[3] = {1, 2, 3};
    float grads[3] = {1, 1, 1};
    fixture_pull(fixture, 4, 1, 0, 0, keys, 3);
    assert_refused(fixture, STATUS_NOMEM, "\"nodes\": key 3 has no room");
    fixture_push(fixture, 4, 1, 0, 0, keys, 3, grads, 3);
    assert_refused(fixture, STATUS_NOMEM, "\"nodes\"");
    assert_true(fixture_row(fixture, 4, 0, 2) == 0.0f);
}

static void silent_sessions_are_forgotten_and_hold_nobody_up(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture spec;
    fixture_sparse(&spec, "nodes", 1, SGD);
    spec.spec.consistency = BSP;
    fixture_hello_one(fixture, 4, &spec);
    fixture_hello_one(fixture, 5, &spec);
    fixture_advance(fixture, 4, 1, 0, false);
    fixture_advance(fixture, 5, 1, 1, false);
    uint64_t key = 1;
    fixture->now_ns = 900;
    fixture_pull(fixture, 5, 33, 0, 1, &key, 1);
    assert_int_equal(fixture->outbox.count, 0);
    shard_tick(fixture->shard, 1500, &fixture->outbox);
    assert_int_equal(fixture->outbox.count, 1);
    assert_int_equal(fixture_reply(fixture, 0)->request, 33);
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.sessions, 1);
    assert_int_equal(stats.trainers, 1);
    assert_int_equal(stats.waiting_pulls, 0);
    fixture_pull(fixture, 4, 34, 0, 0, &key, 1);
    assert_refused(fixture, STATUS_NOT_FOUND, "session 4 unknown");
}

/* ---- shared memory -------------------------------------------------------------------------- */

enum { MEMORY_BYTES = SHARED_BLOCKS_END + 65536, KEYS_AT = SHARED_BLOCKS_END };
enum { POSITIONS_AT = KEYS_AT + 4096, ROWS_AT = KEYS_AT + 8192, ROW_FLOATS = 2 };

/* A client's memory, in this process. */
struct memory_fixture {
    unsigned char *base;
    unsigned opened, closed;
    bool refuses;
};

static void *open_memory(void *context, const Anthill__SharedMemory *memory)
{
    struct memory_fixture *fixture = context;
    assert_int_equal(memory->bytes, MEMORY_BYTES);
    if (fixture->refuses) return NULL;
    fixture->opened++;
    return fixture->base;
}

static void close_memory(void *context, void *base, uint64_t bytes)
{
    struct memory_fixture *fixture = context;
    assert_ptr_equal(base, fixture->base);
    assert_int_equal(bytes, MEMORY_BYTES);
    fixture->closed++;
}

static void hello_memory(struct shard_fixture *fixture, uint64_t session,
                         const struct spec_fixture *spec, uint64_t bytes, uint64_t nonce)
{
    Anthill__SharedMemory memory = ANTHILL__SHARED_MEMORY__INIT;
    memory.bytes = bytes;
    memory.nonce = nonce;
    Anthill__TableSpec *tables[1] = {(Anthill__TableSpec *)&spec->spec};
    Anthill__Hello hello = ANTHILL__HELLO__INIT;
    hello.n_tables = 1;
    hello.tables = tables;
    hello.memory = &memory;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
}

static bool is_mapped(struct shard_fixture *fixture)
{
    const Anthill__Envelope *reply = fixture_reply(fixture, 0);
    assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_HELLO_REPLY);
    return reply->hello_reply->memory_mapped;
}

/* A shard, a table "nodes" of ROW_FLOATS, and session 4 with its memory. */
static void memory_fixture_init(struct memory_fixture *memory, struct shard_fixture *fixture,
                                struct spec_fixture *spec)
{
    *memory = (struct memory_fixture){.base = aligned_alloc(64, MEMORY_BYTES)};
    assert_non_null(memory->base);
    memset(memory->base, 0, MEMORY_BYTES);
    struct shard_options options = {
        .incarnation = 77, .session_idle_ns = 1000, .memory = {memory, open_memory, close_memory}};
    shard_fixture_deinit(fixture);
    *fixture = (struct shard_fixture){.now_ns = 5};
    assert_int_equal(shard_create(&fixture->shard, &options), STATUS_OK);
    fixture_sparse(spec, "nodes", ROW_FLOATS, SGD);
    hello_memory(fixture, 4, spec, MEMORY_BYTES, 1);
    assert_true(is_mapped(fixture));
}

static struct shared_block *offer(struct memory_fixture *memory, uint32_t number, uint64_t id,
                                  const uint64_t *keys, const uint32_t *positions, uint32_t count)
{
    struct shared_block *block = shared_block_at(memory->base, number);
    memcpy(memory->base + KEYS_AT, keys, count * sizeof *keys);
    if (positions != NULL)
        memcpy(memory->base + POSITIONS_AT, positions, count * sizeof *positions);
    block->keys = KEYS_AT;
    block->positions = positions != NULL ? POSITIONS_AT : 0;
    block->rows = ROWS_AT;
    atomic_store(&block->state, shared_block_state(id, BLOCK_PENDING));
    return block;
}

static float *memory_row(const struct memory_fixture *memory, uint32_t place)
{
    return (float *)(void *)(memory->base + ROWS_AT) + (size_t)place * ROW_FLOATS;
}

static void pull_block(struct shard_fixture *fixture, uint64_t request, uint32_t block,
                       uint32_t key_count, uint64_t clock)
{
    Anthill__Pull pull = ANTHILL__PULL__INIT;
    pull.key_count = key_count;
    pull.block = block;
    pull.clock = clock;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = request;
    envelope.session = 4;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
}

static void push_block(struct shard_fixture *fixture, uint64_t request, uint64_t sequence,
                       uint32_t block, uint32_t key_count)
{
    Anthill__Push push = ANTHILL__PUSH__INIT;
    push.key_count = key_count;
    push.block = block;
    push.rate_scale = 1;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = request;
    envelope.session = 4;
    envelope.sequence = sequence;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PUSH;
    envelope.push = &push;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
}

static void memory_fixture_deinit(struct memory_fixture *memory, struct shard_fixture *fixture)
{
    shard_clear(fixture->shard);
    assert_int_equal(memory->opened, memory->closed);
    free(memory->base);
}

static void rows_of_a_block_go_to_their_places_in_the_clients_array(void **state)
{
    struct shard_fixture *fixture = *state;
    struct memory_fixture memory;
    struct spec_fixture spec;
    memory_fixture_init(&memory, fixture, &spec);
    const uint64_t keys[3] = {7, 8, 9};
    const uint32_t positions[3] = {5, 0, 2};
    for (unsigned i = 0; i < 3; i++)
        for (unsigned j = 0; j < ROW_FLOATS; j++)
            memory_row(&memory, positions[i])[j] = (float)(10 * i + j + 1);
    struct shared_block *block = offer(&memory, 1, 50, keys, positions, 3);
    push_block(fixture, 50, 1, 1, 3);
    assert_false(fixture_reply(fixture, 0)->push_reply->repeated_push);
    assert_int_equal(block->state, shared_block_state(50, BLOCK_DONE));
    push_block(fixture, 50, 1, 1, 3);
    assert_true(fixture_reply(fixture, 0)->push_reply->repeated_push);

    block = offer(&memory, SHARED_BLOCKS, 51, keys, NULL, 3);
    pull_block(fixture, 51, SHARED_BLOCKS, 3, 0);
    assert_int_equal(fixture_reply(fixture, 0)->body_case, ANTHILL__ENVELOPE__BODY_PULL_REPLY);
    assert_int_equal(fixture->outbox.messages[0].payload_count, 0);
    assert_int_equal(block->state, shared_block_state(51, BLOCK_DONE));
    for (unsigned i = 0; i < 3; i++)
        for (unsigned j = 0; j < ROW_FLOATS; j++)
            assert_true(memory_row(&memory, i)[j] == -(float)(10 * i + j + 1));
    memory_fixture_deinit(&memory, fixture);
}

static void a_late_repeat_does_not_write_into_memory_that_is_used_again(void **state)
{
    struct shard_fixture *fixture = *state;
    struct memory_fixture memory;
    struct spec_fixture spec;
    memory_fixture_init(&memory, fixture, &spec);
    const uint64_t key = 7;
    struct shared_block *block = offer(&memory, 3, 60, &key, NULL, 1);
    pull_block(fixture, 60, 3, 1, 0);
    assert_int_equal(fixture->outbox.count, 1);
    memory_row(&memory, 0)[0] = 99; /* the client's again, before the repeat comes */
    pull_block(fixture, 60, 3, 1, 0);
    assert_int_equal(fixture_reply(fixture, 0)->body_case, ANTHILL__ENVELOPE__BODY_PULL_REPLY);
    assert_true(memory_row(&memory, 0)[0] == 99);
    atomic_store(&block->state, 0); /* withdrawn */
    pull_block(fixture, 60, 3, 1, 0);
    assert_int_equal(fixture->outbox.count, 0);
    offer(&memory, 3, 61, &key, NULL, 1); /* another's */
    pull_block(fixture, 60, 3, 1, 0);
    push_block(fixture, 60, 1, 3, 1);
    assert_int_equal(fixture->outbox.count, 0);
    assert_true(memory_row(&memory, 0)[0] == 99);
    assert_int_equal(block->state, shared_block_state(61, BLOCK_PENDING));
    memory_fixture_deinit(&memory, fixture);
}

static void a_pull_that_waits_finds_its_block_or_leaves_it_alone(void **state)
{
    struct shard_fixture *fixture = *state;
    struct memory_fixture memory;
    struct spec_fixture spec;
    memory_fixture_init(&memory, fixture, &spec);
    fixture_sparse(&spec, "slow", ROW_FLOATS, SGD);
    spec.spec.consistency = BSP;
    hello_memory(fixture, 4, &spec, MEMORY_BYTES, 1);
    assert_int_equal(memory.opened, 1);
    fixture_advance(fixture, 4, 1, 0, false);
    const uint64_t keys[2] = {7, 8};
    const uint32_t positions[2] = {3, 1};
    Anthill__Pull pull = ANTHILL__PULL__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = 4;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    pull.table = 0;
    for (uint32_t i = 1; i < 4; i++) {
        offer(&memory, i, 70 + i, keys, positions, 2);
        pull.key_count = 2;
        pull.block = i;
        pull.clock = 1;
        pull.table = 1;
        envelope.request = 70 + i;
        fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
        assert_int_equal(fixture->outbox.count, 0);
    }
    memory_row(&memory, 3)[0] = memory_row(&memory, 1)[1] = 5;
    memset(memory.base + KEYS_AT, 0xff, 64); /* keys and positions were copied */
    memset(memory.base + POSITIONS_AT, 0xff, 64);
    atomic_store(&shared_block_at(memory.base, 2)->state, 0); /* withdrawn while it waits */
    fixture_advance(fixture, 4, 2, 1, false);
    assert_int_equal(fixture->outbox.count, 3); /* of the advance, and two pulls */
    assert_int_equal(fixture_reply(fixture, 1)->request, 71);
    assert_int_equal(fixture_reply(fixture, 2)->request, 73);
    assert_true(memory_row(&memory, 3)[0] == 0 && memory_row(&memory, 1)[1] == 0);
    assert_int_equal(shared_block_at(memory.base, 1)->state, shared_block_state(71, BLOCK_DONE));
    assert_int_equal(shared_block_at(memory.base, 2)->state, 0);
    /* One that waits is forgotten with the memory. */
    offer(&memory, 1, 80, keys, positions, 2);
    pull.block = 1;
    pull.clock = 2;
    envelope.request = 80;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
    hello_memory(fixture, 4, &spec, MEMORY_BYTES, 2);
    assert_int_equal(memory.opened, 2);
    assert_int_equal(memory.closed, 1);
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.waiting_pulls, 0);
    memory_fixture_deinit(&memory, fixture);
}

static void blocks_that_lead_out_of_the_memory_are_refused(void **state)
{
    struct shard_fixture *fixture = *state;
    struct memory_fixture memory;
    struct spec_fixture spec;
    memory_fixture_init(&memory, fixture, &spec);
    const uint64_t keys[2] = {7, 8};
    const uint64_t end = MEMORY_BYTES, row = ROW_FLOATS * sizeof(float);
    const struct {
        uint64_t keys, positions, rows;
        const char *text;
    } wrong[] = {
        {KEYS_AT + 4, 0, ROWS_AT, "2 keys at byte"},
        {0, 0, ROWS_AT, "2 keys at byte 0"},
        {KEYS_AT - 8, 0, ROWS_AT, "2 keys at byte"},
        {end - 8, 0, ROWS_AT, "2 keys at byte"},
        {UINT64_MAX - 7, 0, ROWS_AT, "2 keys at byte"},
        {KEYS_AT, POSITIONS_AT + 2, ROWS_AT, "2 positions at byte"},
        {KEYS_AT, end, ROWS_AT, "2 positions at byte"},
        {KEYS_AT, 0, ROWS_AT + 2, "2 rows of 8 bytes at byte"},
        {KEYS_AT, 0, 64, "2 rows of 8 bytes at byte 64"},
        {KEYS_AT, 0, end - 2 * row + 4, "2 rows of 8 bytes at byte"},
        {KEYS_AT, 0, UINT64_MAX - 3, "2 rows of 8 bytes at byte"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct shared_block *block = offer(&memory, 1, 90, keys, NULL, 2);
        block->keys = wrong[i].keys;
        block->positions = wrong[i].positions;
        block->rows = wrong[i].rows;
        pull_block(fixture, 90, 1, 2, 0);
        assert_refused(fixture, STATUS_INVALID, wrong[i].text);
        push_block(fixture, 90, 1, 1, 2);
        assert_refused(fixture, STATUS_INVALID, wrong[i].text);
    }
    const uint32_t last = (uint32_t)((end - ROWS_AT) / row) - 1;
    const uint32_t far[3][2] = {{0, last + 1}, {UINT32_MAX, 0}, {last, 0}};
    for (unsigned i = 0; i < 3; i++) {
        offer(&memory, 1, 90, keys, far[i], 2);
        pull_block(fixture, 90, 1, 2, 0);
        if (i < 2) assert_refused(fixture, STATUS_INVALID, "rows of 8 bytes at byte");
    }
    assert_int_equal(fixture_reply(fixture, 0)->body_case, ANTHILL__ENVELOPE__BODY_PULL_REPLY);
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.refused, 2 * sizeof wrong / sizeof *wrong + 2);
    memory_fixture_deinit(&memory, fixture);
}

static void blocks_that_make_no_sense_are_refused(void **state)
{
    struct shard_fixture *fixture = *state;
    struct memory_fixture memory;
    struct spec_fixture spec, dense;
    memory_fixture_init(&memory, fixture, &spec);
    const uint64_t keys[2] = {7, 8};
    offer(&memory, 1, 90, keys, NULL, 2);
    pull_block(fixture, 90, SHARED_BLOCKS + 1, 2, 0);
    assert_refused(fixture, STATUS_INVALID, "\"nodes\": block 4097; there are 4096");
    pull_block(fixture, 90, UINT32_MAX, 2, 0);
    assert_refused(fixture, STATUS_INVALID, "block 4294967295");
    pull_block(fixture, 90, 1, 0, 0);
    assert_refused(fixture, STATUS_INVALID, "0 keys in a block");
    pull_block(fixture, 90, 1, SHARED_BLOCK_KEYS_MAX + 1, 0);
    assert_refused(fixture, STATUS_INVALID, "65537 keys in a block; 1 to 65536 expected");
    pull_block(fixture, 90, 1, UINT32_MAX, 0);
    assert_refused(fixture, STATUS_INVALID, "4294967295 keys");

    Anthill__Pull pull = ANTHILL__PULL__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = 90;
    envelope.session = 4;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    pull.block = 1;
    pull.key_count = 2;
    fixture_send(fixture, &envelope, keys, sizeof keys, NULL, 0);
    assert_refused(fixture, STATUS_INVALID, "block 1 and 1 payload frames");
    pull.encoding = ANTHILL__ENCODING__ENCODING_BF16;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
    assert_refused(fixture, STATUS_INVALID, "encoding 1, which this memory does not hold");
    fixture_dense(&dense, "weights", SGD);
    fixture_tensor(&dense, "w", 3, 2, ANTHILL__INIT_KIND__INIT_ONE, 0);
    hello_memory(fixture, 4, &dense, MEMORY_BYTES, 1);
    pull.table = 1;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
    assert_refused(fixture, STATUS_INVALID, "\"weights\": block 1 for a dense table");
    /* A session without memory has no blocks. */
    fixture_hello_one(fixture, 5, &spec);
    pull.table = 0;
    pull.encoding = 0;
    envelope.session = 5;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
    assert_refused(fixture, STATUS_INVALID, "block 1, but no memory is shared");
    /* A refused push leaves its block as it was offered. */
    memory_row(&memory, 1)[0] = INFINITY;
    push_block(fixture, 90, 1, 1, 2);
    assert_refused(fixture, STATUS_INVALID, "gradient of key 8 is NaN or infinite");
    assert_int_equal(shared_block_at(memory.base, 1)->state, shared_block_state(90, BLOCK_PENDING));
    memory_row(&memory, 1)[0] = 0;
    push_block(fixture, 90, 1, 1, 2);
    assert_false(fixture_reply(fixture, 0)->push_reply->repeated_push);
    memory_fixture_deinit(&memory, fixture);
}

static void memory_is_mapped_once_and_closed_with_its_session(void **state)
{
    struct shard_fixture *fixture = *state;
    struct memory_fixture memory;
    struct spec_fixture spec;
    memory_fixture_init(&memory, fixture, &spec);
    hello_memory(fixture, 4, &spec, MEMORY_BYTES, 1);
    assert_true(is_mapped(fixture));
    assert_int_equal(memory.opened, 1);
    fixture_hello_one(fixture, 4, &spec);
    assert_false(is_mapped(fixture)); /* it did not ask */
    assert_int_equal(memory.closed, 0);
    hello_memory(fixture, 5, &spec, SHARED_BLOCKS_END - 1, 1); /* no room for blocks */
    assert_false(is_mapped(fixture));
    memory.refuses = true;
    hello_memory(fixture, 5, &spec, MEMORY_BYTES, 1);
    assert_false(is_mapped(fixture));
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.memories, 1);
    shard_tick(fixture->shard, 5000, &fixture->outbox);
    assert_int_equal(memory.closed, 1);
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.memories, 0);
    memory_fixture_deinit(&memory, fixture);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello_creates_tables_and_says_where_the_session_stands),
        TEST(hello_with_another_spec_names_the_difference_and_changes_nothing),
        TEST(unknown_sessions_are_told_to_say_hello),
        TEST(repeated_push_is_answered_and_not_applied_twice),
        TEST(requests_that_lie_about_their_size_change_nothing),
        TEST(gradients_that_are_not_finite_are_refused_whole),
        TEST(other_slot_maps_are_refused_as_busy),
        TEST(full_table_refuses_new_rows_by_name_and_serves_the_others),
        TEST(silent_sessions_are_forgotten_and_hold_nobody_up),
        TEST(rows_of_a_block_go_to_their_places_in_the_clients_array),
        TEST(a_late_repeat_does_not_write_into_memory_that_is_used_again),
        TEST(a_pull_that_waits_finds_its_block_or_leaves_it_alone),
        TEST(blocks_that_lead_out_of_the_memory_are_refused),
        TEST(blocks_that_make_no_sense_are_refused),
        TEST(memory_is_mapped_once_and_closed_with_its_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
