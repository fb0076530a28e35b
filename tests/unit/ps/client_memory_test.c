/* Clients and shards with memory in common: what is written where, and when it is given back. Each
 * piece is looked at for a while after its request has ended. */
#include <math.h>

#include "client_net.h"

static void a_network_that_loses_and_repeats_finds_memory_as_it_should_be(void **state)
{
    (void)state;
    lose_and_repeat(true);
}

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

static void what_a_shard_was_at_when_it_died_is_asked_of_the_next(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = share_rows(&net, 24, &table);
    uint64_t key = 0, tickets[2];
    while (net.owners[slot_of(key, SLOTS)] != 1)
        key++;
    float *memory = take_memory(core, 2 * DIM * sizeof *memory);
    for (unsigned i = 0; i < DIM; i++)
        memory[i] = 3.0f;
    net.shard_dead[1] = true;
    for (unsigned push = 0; push < 2; push++) {
        float *rows = push ? memory : memory + DIM;
        assert_int_equal(
            push ? client_core_push(core, table, &key, 1, rows, 1.0f, &tickets[push], NULL)
                 : client_core_pull(core, table, &key, 1, rows, false, &tickets[push], NULL),
            STATUS_OK);
        net_step(&net);
    }
    for (uint32_t number = 1; number <= 2; number++) {
        struct shared_block *block = shared_block_at(net.memories[0], number);
        uint64_t id = atomic_load(&block->state) >> 2;
        assert_true(id != 0);
        atomic_store(&block->state, shared_block_state(id, BLOCK_TAKEN));
    }
    restart_empty(&net);
    net.shard_dead[1] = false;
    wait_well(&net, core, tickets[0]);
    wait_well(&net, core, tickets[1]);
    give_memory(core, memory);
    float row[DIM];
    pull_well(&net, core, table, &key, 1, row);
    assert_true(row[0] == -3.0f);
    net_deinit(&net);
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
        cmocka_unit_test(a_network_that_loses_and_repeats_finds_memory_as_it_should_be),
        cmocka_unit_test(only_memory_that_is_shared_goes_without_payload),
        cmocka_unit_test(requests_that_were_given_up_leave_the_memory_alone),
        cmocka_unit_test(memory_that_a_shard_is_writing_to_is_not_given_back),
        cmocka_unit_test(a_shard_that_restarts_maps_the_memory_again_or_is_sent_frames),
        cmocka_unit_test(what_a_shard_was_at_when_it_died_is_asked_of_the_next),
        cmocka_unit_test(gradients_that_are_refused_are_given_back_when_all_parts_have_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
