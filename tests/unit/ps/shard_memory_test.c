/* Requests whose keys and rows stand in memory that the client shares; the memory is plain here,
 * and the client writes what it likes. */
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

enum { MEMORY_BYTES = SHARED_BLOCKS_END + 65536, KEYS_AT = SHARED_BLOCKS_END };
enum { POSITIONS_AT = KEYS_AT + 4096, ROWS_AT = KEYS_AT + 8192, ROW_FLOATS = 2 };

/* A client's memory, in this process. */
struct memory_fixture {
    unsigned char *base;
    unsigned opened, closed;
    unsigned refused;
    bool refuses, ended;
};

static bool is_open(void *context, uint32_t pid, uint32_t fd)
{
    const struct memory_fixture *fixture = context;
    assert_true(pid == 11 && fd == 12);
    return !fixture->ended;
}

static void *open_memory(void *context, const Anthill__SharedMemory *memory)
{
    struct memory_fixture *fixture = context;
    assert_int_equal(memory->bytes, MEMORY_BYTES);
    if (fixture->refuses) {
        fixture->refused++;
        return NULL;
    }
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
    memory.pid = 11;
    memory.fd = 12;
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
    struct shard_options options = {.incarnation = 77,
                                    .session_idle_ns = 1000,
                                    .memory = {memory, open_memory, close_memory, is_open}};
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
        fixture_refused(fixture, STATUS_INVALID, wrong[i].text);
        push_block(fixture, 90, 1, 1, 2);
        fixture_refused(fixture, STATUS_INVALID, wrong[i].text);
    }
    const uint32_t last = (uint32_t)((end - ROWS_AT) / row) - 1;
    const uint32_t far[3][2] = {{0, last + 1}, {UINT32_MAX, 0}, {last, 0}};
    for (unsigned i = 0; i < 3; i++) {
        offer(&memory, 1, 90, keys, far[i], 2);
        pull_block(fixture, 90, 1, 2, 0);
        if (i < 2) fixture_refused(fixture, STATUS_INVALID, "rows of 8 bytes at byte");
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
    fixture_refused(fixture, STATUS_INVALID, "\"nodes\": block 4097; there are 4096");
    pull_block(fixture, 90, UINT32_MAX, 2, 0);
    fixture_refused(fixture, STATUS_INVALID, "block 4294967295");
    pull_block(fixture, 90, 1, 0, 0);
    fixture_refused(fixture, STATUS_INVALID, "0 keys in a block");
    pull_block(fixture, 90, 1, SHARED_BLOCK_KEYS_MAX + 1, 0);
    fixture_refused(fixture, STATUS_INVALID, "65537 keys in a block; 1 to 65536 expected");
    pull_block(fixture, 90, 1, UINT32_MAX, 0);
    fixture_refused(fixture, STATUS_INVALID, "4294967295 keys");

    Anthill__Pull pull = ANTHILL__PULL__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = 90;
    envelope.session = 4;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    pull.block = 1;
    pull.key_count = 2;
    fixture_send(fixture, &envelope, keys, sizeof keys, NULL, 0);
    fixture_refused(fixture, STATUS_INVALID, "block 1 and 1 payload frames");
    pull.encoding = ANTHILL__ENCODING__ENCODING_BF16;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
    fixture_refused(fixture, STATUS_INVALID, "block 1 and encoding 1: rows there are f32");
    fixture_dense(&dense, "weights", SGD);
    fixture_tensor(&dense, "w", 3, 2, ANTHILL__INIT_KIND__INIT_ONE, 0);
    hello_memory(fixture, 4, &dense, MEMORY_BYTES, 1);
    pull.table = 1;
    pull.encoding = 0;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
    fixture_refused(fixture, STATUS_INVALID, "\"weights\": block 1 for a dense table");
    /* A session without memory has no blocks. */
    fixture_hello_one(fixture, 5, &spec);
    pull.table = 0;
    envelope.session = 5;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
    fixture_refused(fixture, STATUS_INVALID, "block 1, but no memory is shared");
    /* A refused push leaves its block as it was offered. */
    memory_row(&memory, 1)[0] = INFINITY;
    push_block(fixture, 90, 1, 1, 2);
    fixture_refused(fixture, STATUS_INVALID, "gradient of key 8 is NaN or infinite");
    assert_int_equal(shared_block_at(memory.base, 1)->state, shared_block_state(90, BLOCK_PENDING));
    memory_row(&memory, 1)[0] = 0;
    push_block(fixture, 90, 1, 1, 2);
    assert_false(fixture_reply(fixture, 0)->push_reply->repeated_push);
    memory_fixture_deinit(&memory, fixture);
}

/* A place near an edge of the memory, or anywhere. */
static uint64_t random_offset(struct rng *rng)
{
    const uint64_t edges[] = {0, SHARED_BLOCKS_END, MEMORY_BYTES, UINT64_MAX, KEYS_AT, ROWS_AT};
    uint64_t edge = edges[rng_below(rng, sizeof edges / sizeof *edges)];
    if (rng_below(rng, 8) == 0) return rng_u64(rng);
    return edge + 4 * rng_below(rng, 16) - 32 + (rng_below(rng, 16) == 0 ? 1 : 0);
}

/* The memory ends where the allocation does: a sanitizer sees every step beyond. */
static void random_blocks_are_done_or_refused(void **state)
{
    struct shard_fixture *fixture = *state;
    struct memory_fixture memory;
    struct spec_fixture spec;
    struct rng rng = rng_make(fixture_seed());
    memory_fixture_init(&memory, fixture, &spec);
    unsigned done = 0;
    for (uint64_t id = 1; id < 30000; id++) {
        uint32_t count = (uint32_t)rng_below(&rng, 8);
        if (rng_below(&rng, 10) == 0) count = (uint32_t)rng_u64(&rng);
        for (unsigned i = 0; i < 16; i++) {
            uint32_t position = (uint32_t)rng_below(&rng, 8200);
            if (rng_below(&rng, 50) == 0) position = (uint32_t)rng_u64(&rng);
            memcpy(memory.base + POSITIONS_AT + i * sizeof position, &position, sizeof position);
            uint64_t key = rng_below(&rng, 100);
            memcpy(memory.base + KEYS_AT + i * sizeof key, &key, sizeof key);
        }
        struct shared_block *block = shared_block_at(memory.base, 1 + (uint32_t)(id % 3));
        block->keys = rng_below(&rng, 2) == 0 ? random_offset(&rng) : KEYS_AT;
        block->positions = rng_below(&rng, 2) == 0 ? random_offset(&rng) : POSITIONS_AT;
        block->rows = rng_below(&rng, 2) == 0 ? random_offset(&rng) : ROWS_AT;
        atomic_store(&block->state, shared_block_state(id, BLOCK_PENDING));
        uint32_t number = 1 + (uint32_t)(id % 3);
        if (rng_below(&rng, 100) == 0) number = (uint32_t)rng_u64(&rng);
        if (rng_below(&rng, 2) == 0) {
            pull_block(fixture, id, number, count, 0);
        } else {
            push_block(fixture, id, id, number, count);
        }
        uint64_t left = atomic_load(&block->state);
        done += left == shared_block_state(id, BLOCK_DONE);
        assert_true(left == shared_block_state(id, BLOCK_DONE) ||
                    left == shared_block_state(id, BLOCK_PENDING));
        assert_true(fixture->outbox.count <= 1);
    }
    assert_true(done > 1000);
    memory_fixture_deinit(&memory, fixture);
}

static void memory_of_a_client_that_has_ended_is_given_back(void **state)
{
    struct shard_fixture *fixture = *state;
    struct memory_fixture memory;
    struct spec_fixture spec;
    memory_fixture_init(&memory, fixture, &spec);
    shard_tick(fixture->shard, 10, &fixture->outbox);
    assert_int_equal(memory.closed, 0);
    memory.ended = true;
    shard_tick(fixture->shard, 20, &fixture->outbox);
    assert_int_equal(memory.closed, 1);
    const uint64_t key = 7;
    offer(&memory, 1, 90, &key, NULL, 1);
    pull_block(fixture, 90, 1, 1, 0);
    fixture_refused(fixture, STATUS_INVALID, "no memory is shared");
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
    for (unsigned again = 0; again < 2; again++) {
        hello_memory(fixture, 5, &spec, MEMORY_BYTES, 1);
        assert_false(is_mapped(fixture));
        assert_int_equal(memory.refused, 1); /* a link that asks whether the shard lives */
    }
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
        TEST(rows_of_a_block_go_to_their_places_in_the_clients_array),
        TEST(a_late_repeat_does_not_write_into_memory_that_is_used_again),
        TEST(a_pull_that_waits_finds_its_block_or_leaves_it_alone),
        TEST(blocks_that_lead_out_of_the_memory_are_refused),
        TEST(blocks_that_make_no_sense_are_refused),
        TEST(random_blocks_are_done_or_refused),
        TEST(memory_of_a_client_that_has_ended_is_given_back),
        TEST(memory_is_mapped_once_and_closed_with_its_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
