/* Encodings, assignments, deletions and walks over the keys of two shards. */
#include <math.h>

#include "client_net.h"

static struct client_core *open_rows(struct net *net, uint64_t seed, uint32_t *table)
{
    net_init(net, seed);
    struct client_core *core = net_client(net, false);
    join_well(net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    *table = open_table(net, core, &fixture);
    return core;
}

static void fill(uint64_t keys[KEYS], float rows[KEYS][DIM])
{
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
        for (unsigned i = 0; i < DIM; i++) /* exact in every encoding */
            rows[key][i] = i == 0 ? 127.0f : (float)((int)key - 3 * (int)i);
    }
}

static void rows_travel_in_the_encoding_that_is_set(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = open_rows(&net, 30, &table);
    uint64_t keys[KEYS];
    float grads[KEYS][DIM], sums[KEYS][DIM];
    fill(keys, grads);
    const size_t row_bytes[] = {DIM * 4, DIM * 2, 4 + DIM};
    for (unsigned encoding = 0; encoding < 3; encoding++) {
        assert_int_equal(client_core_set_encoding(core, table, (Anthill__Encoding)encoding, NULL),
                         STATUS_OK);
        start_push(&net, core, table, keys, KEYS, &grads[0][0]);
        assert_int_equal(payload_put(&net, 0), KEYS * (8 + row_bytes[encoding]));
        flush_well(&net, core);
        for (unsigned key = 0; key < KEYS; key++)
            for (unsigned i = 0; i < DIM; i++)
                sums[key][i] = (float)(encoding + 1) * grads[key][i];
        if (encoding < 2) check_sums(&net, core, table, sums);
    }
    assert_int_equal(client_core_set_encoding(core, table, 0, NULL), STATUS_OK);
    check_sums(&net, core, table, sums);
    struct error error = {0};
    assert_int_equal(client_core_set_encoding(core, table, (Anthill__Encoding)7, &error),
                     STATUS_INVALID);
    assert_non_null(strstr(error.text, "rows: encoding 7"));
    assert_int_equal(client_core_set_encoding(core, table + 1, 0, &error), STATUS_INVALID);
    net_deinit(&net);
}

static void shared_memory_stays_f32_and_frames_do_not(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 31);
    net_share(&net);
    struct client_core *core = net_client(&net, false);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    uint32_t table = open_table(&net, core, &fixture);
    assert_int_equal(client_core_set_encoding(core, table, ANTHILL__ENCODING__ENCODING_BF16, NULL),
                     STATUS_OK);
    uint64_t keys[KEYS];
    float grads[KEYS][DIM];
    fill(keys, grads);
    grads[5][1] = 1.0f + 0x1p-20f; /* not a bf16 */
    start_push(&net, core, table, keys, KEYS, &grads[0][0]);
    flush_well(&net, core);
    check_sums(&net, core, table, grads);
    /* Offered in blocks, and then to a shard that does not map the memory: as frames. */
    fill(keys, grads);
    start_push(&net, core, table, keys, KEYS, &grads[0][0]);
    net.refuses_memory = true;
    restart_empty(&net);
    start_push(&net, core, table, keys, KEYS, &grads[0][0]);
    flush_well(&net, core);
    float rows[KEYS][DIM];
    pull_well(&net, core, table, keys, KEYS, &rows[0][0]);
    for (unsigned key = 0; key < KEYS; key++)
        if (net.owners[slot_of(key, SLOTS)] == 1) assert_true(rows[key][1] == -2 * grads[key][1]);
    net_deinit(&net);
}

static void assignments_and_deletions_keep_their_place_among_pushes(void **state)
{
    (void)state;
    uint64_t first = fixture_seed();
    for (uint64_t seed = first; seed < first + 20; seed++) {
        struct net net;
        uint32_t table;
        struct client_core *core = open_rows(&net, seed, &table);
        net.loss_percent = 20;
        net.repeat_percent = 20;
        net.timeout_ns = 600 * NS_PER_S;
        uint64_t keys[KEYS], ticket, deleted = 0;
        float grads[KEYS][DIM], expected[KEYS][DIM];
        fill(keys, grads);
        start_push(&net, core, table, keys, KEYS, &grads[0][0]);
        flush_well(&net, core);
        assert_int_equal(client_core_assign(core, table, keys, KEYS, &grads[0][0], &ticket, NULL),
                         STATUS_OK);
        flush_well(&net, core);
        start_push(&net, core, table, keys, KEYS / 2, &grads[0][0]);
        flush_well(&net, core);
        assert_int_equal(
            client_core_delete(core, table, keys + KEYS - 10, 10, &deleted, &ticket, NULL),
            STATUS_OK);
        wait_well(&net, core, ticket);
        assert_true(deleted <= 10); /* answers are lost */
        for (unsigned key = 0; key < KEYS; key++)
            for (unsigned i = 0; i < DIM; i++)
                expected[key][i] = key < KEYS / 2 || key >= KEYS - 10 ? 0.0f : -grads[key][i];
        check_sums(&net, core, table, expected);
        net_deinit(&net);
    }
}

static void a_deletion_says_how_many_rows_were_there(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = open_rows(&net, 34, &table);
    uint64_t keys[KEYS], ticket, deleted = 0;
    float grads[KEYS][DIM];
    fill(keys, grads);
    start_push(&net, core, table, keys, 30, &grads[0][0]);
    flush_well(&net, core);
    assert_int_equal(client_core_delete(core, table, keys, KEYS, &deleted, &ticket, NULL),
                     STATUS_OK);
    wait_well(&net, core, ticket);
    assert_int_equal(deleted, 30);
    net_deinit(&net);
}

static void a_client_that_has_opened_nothing_asks_what_tables_there_are(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = open_rows(&net, 35, &table);
    uint64_t keys[KEYS], ticket, rows = 0;
    float grads[KEYS][DIM];
    fill(keys, grads);
    start_push(&net, core, table, keys, KEYS, &grads[0][0]);
    flush_well(&net, core);
    struct client_core *other = net_client(&net, false);
    join_well(&net, other);
    net.loss_percent = 20;
    net.repeat_percent = 20;
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        Anthill__DescribeReply *description;
        assert_int_equal(client_core_describe(other, shard, "rows", &description, &ticket, NULL),
                         STATUS_OK);
        wait_well(&net, other, ticket);
        assert_non_null(description->spec);
        assert_int_equal(description->spec->dim, DIM);
        rows += description->rows;
        anthill__describe_reply__free_unpacked(description, NULL);
        assert_int_equal(client_core_describe(other, shard, "none", &description, &ticket, NULL),
                         STATUS_OK);
        wait_well(&net, other, ticket);
        assert_null(description->spec);
        assert_int_equal(description->n_names, 1);
        assert_string_equal(description->names[0], "rows");
        anthill__describe_reply__free_unpacked(description, NULL);
    }
    assert_int_equal(rows, KEYS);
    net_deinit(&net);
}

static void a_scan_lists_the_keys_of_all_shards_once(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    struct net net;
    uint32_t table;
    struct client_core *core = open_rows(&net, 32, &table);
    net.loss_percent = 20;
    net.repeat_percent = 20;
    uint64_t *keys = malloc(COUNT * sizeof *keys), ticket;
    float *rows = malloc(COUNT * DIM * sizeof *rows);
    unsigned char *seen = calloc(COUNT, 1);
    for (uint64_t i = 0; i < COUNT; i++)
        keys[i] = i;
    pull_well(&net, core, table, keys, COUNT, rows);
    struct client_scan scan = {0};
    uint64_t listed[100];
    for (unsigned steps = 0; !scan.ended; steps++) {
        uint32_t count = 0;
        assert_true(steps < COUNT);
        assert_int_equal(client_core_scan(core, table, &scan, listed, 100, &count, &ticket, NULL),
                         STATUS_OK);
        wait_well(&net, core, ticket);
        assert_true(count <= 100);
        for (uint32_t i = 0; i < count; i++) {
            assert_true(listed[i] < COUNT);
            seen[listed[i]]++;
        }
    }
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(seen[i], 1);
    struct error error = {0};
    uint32_t count;
    assert_int_equal(client_core_scan(core, table, &scan, listed, 100, &count, &ticket, &error),
                     STATUS_INVALID);
    scan = (struct client_scan){0};
    assert_int_equal(client_core_scan(core, table, &scan, listed, 10, &count, &ticket, &error),
                     STATUS_OK);
    assert_int_equal(net_wait(&net, core, ticket, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "keys_max 10"));
    free(keys);
    free(rows);
    free(seen);
    net_deinit(&net);
}

static void nothing_arrives_in_the_callers_memory_after_a_client_has_left(void **state)
{
    (void)state;
    struct net net;
    uint32_t table, count;
    struct client_core *core = open_rows(&net, 36, &table);
    uint64_t keys[KEYS], listed[KEYS + 64], ticket, deleted = 0;
    float rows[KEYS][DIM], before[KEYS][DIM];
    fill(keys, rows);
    start_push(&net, core, table, keys, KEYS, &rows[0][0]);
    flush_well(&net, core);
    memcpy(before, rows, sizeof before);
    memset(listed, 0x5a, sizeof listed);
    net.delay_ns = NS_PER_S;
    struct client_scan scan = {0};
    Anthill__DescribeReply *description;
    assert_int_equal(client_core_pull(core, table, keys, KEYS, &rows[0][0], true, &ticket, NULL),
                     STATUS_OK);
    assert_int_equal(client_core_scan(core, table, &scan, listed, KEYS + 64, &count, &ticket, NULL),
                     STATUS_OK);
    assert_int_equal(client_core_describe(core, 1, "rows", &description, &ticket, NULL), STATUS_OK);
    assert_int_equal(client_core_delete(core, table, keys, 20, &deleted, &ticket, NULL), STATUS_OK);
    net_step(&net);
    client_core_leave(core);
    for (unsigned step = 0; !client_core_left(core); step++) {
        assert_true(step < 100000);
        net_step(&net);
    }
    assert_memory_equal(rows, before, sizeof before);
    for (unsigned i = 0; i < KEYS + 64; i++)
        assert_true(listed[i] == UINT64_C(0x5a5a5a5a5a5a5a5a));
    assert_int_equal(scan.cursor, 0);
    assert_int_equal(count, 0);
    assert_null(description);
    assert_int_equal(deleted, 0);
    /* The deletion went all the same. */
    uint64_t left = 0;
    for (unsigned i = 0; i < SHARDS; i++)
        left += table_row_count(shard_table(net.shards[i], 0));
    assert_int_equal(left, KEYS - 20);
    net_deinit(&net);
}

static void pull_newer(struct net *net, struct client_core *core, uint32_t table,
                       const uint64_t *keys, uint32_t behind, float rows[KEYS][DIM],
                       uint32_t *versions)
{
    uint64_t ticket;
    assert_int_equal(client_core_pull_newer(core, table, keys, KEYS, behind, &rows[0][0], versions,
                                            false, &ticket, NULL),
                     STATUS_OK);
    wait_well(net, core, ticket);
}

static void only_rows_that_are_newer_are_pulled_again(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 33);
    net_share(&net); /* conditional pulls go by frames all the same */
    struct client_core *core = net_client(&net, false);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    fixture.spec.versioned = true;
    uint32_t table = open_table(&net, core, &fixture), versions[KEYS] = {0}, before[KEYS];
    assert_int_equal(client_core_set_encoding(core, table, ANTHILL__ENCODING__ENCODING_BF16, NULL),
                     STATUS_OK);
    uint64_t keys[KEYS];
    float grads[KEYS][DIM], rows[KEYS][DIM];
    fill(keys, grads);
    start_push(&net, core, table, keys, KEYS, &grads[0][0]);
    flush_well(&net, core);
    pull_newer(&net, core, table, keys, 0, rows, versions);
    for (unsigned i = 0; i < KEYS; i++) {
        assert_true(rows[i][1] == -grads[i][1]);
        assert_true(versions[i] > 0);
    }
    memcpy(before, versions, sizeof before);
    memset(rows, 0, sizeof rows);
    start_push(&net, core, table, keys + 10, 20, &grads[10][0]);
    flush_well(&net, core);
    pull_newer(&net, core, table, keys, 100, rows, versions);
    assert_memory_equal(versions, before, sizeof before); /* near enough */
    pull_newer(&net, core, table, keys, 0, rows, versions);
    for (unsigned i = 0; i < KEYS; i++) {
        bool newer = i >= 10 && i < 30;
        assert_true(rows[i][1] == (newer ? -2 * grads[i][1] : 0.0f));
        assert_int_equal(versions[i] != before[i], newer);
    }
    /* A shard that restarts has other versions: a pull that is under way asks for everything. */
    assert_int_equal(client_core_restarts(core), 0);
    restart_empty(&net);
    memset(rows, 1, sizeof rows);
    for (unsigned i = 0; i < KEYS; i++)
        versions[i] = 1000000;
    pull_newer(&net, core, table, keys, 0, rows, versions);
    assert_int_equal(client_core_restarts(core), 1);
    for (unsigned i = 0; i < KEYS; i++)
        if (net.owners[slot_of(keys[i], SLOTS)] == 1) assert_true(rows[i][1] == 0.0f);
    net_deinit(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_travel_in_the_encoding_that_is_set),
        cmocka_unit_test(shared_memory_stays_f32_and_frames_do_not),
        cmocka_unit_test(only_rows_that_are_newer_are_pulled_again),
        cmocka_unit_test(assignments_and_deletions_keep_their_place_among_pushes),
        cmocka_unit_test(a_deletion_says_how_many_rows_were_there),
        cmocka_unit_test(a_client_that_has_opened_nothing_asks_what_tables_there_are),
        cmocka_unit_test(nothing_arrives_in_the_callers_memory_after_a_client_has_left),
        cmocka_unit_test(a_scan_lists_the_keys_of_all_shards_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
