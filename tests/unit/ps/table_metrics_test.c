/* The accounts of tables as metrics. */
#include <math.h>

#include "tests/unit/ps/ps_fixture.h"

#include "common/metrics.h"
#include "ps/table_metrics.h"

enum { DIM = 2, SESSION = 4 };

static void expect_line(const char *line)
{
    char *text = metrics_render_text();
    if (strstr(text, line) == NULL) fail_msg("\"%s\" is not in\n%s", line, text);
    free(text);
}

static void update(struct table_metrics *metrics, const struct shard *shard)
{
    table_metrics_update(metrics, &shard, 1);
}

/* A push of one row, after a pull with an update between. */
static void push_after(struct shard_fixture *fixture, const uint64_t *keys, uint64_t sequence)
{
    const float grads[DIM] = {1, 1};
    fixture_push(fixture, SESSION, sequence, 0, 0, keys, 1, grads, DIM);
    Anthill__Push push = ANTHILL__PUSH__INIT;
    push.key_count = 1;
    push.rate_scale = 1;
    push.pulled_ns = fixture->now_ns;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = SESSION;
    envelope.sequence = sequence + 1;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PUSH;
    envelope.push = &push;
    fixture_send(fixture, &envelope, keys, sizeof *keys, grads, sizeof grads);
}

static void each_table_has_its_own_accounts(void **state)
{
    (void)state;
    struct shard_fixture fixture;
    struct spec_fixture rows, few, dense;
    struct table_metrics metrics = {.shard = 2};
    shard_fixture_init(&fixture);
    fixture_sparse(&rows, "rows", DIM, SGD);
    fixture_sparse(&few, "a \"few\" \\ rows", DIM, SGD);
    few.spec.rows_max = 2;
    fixture_dense(&dense, "weights", SGD);
    fixture_tensor(&dense, "w", 3, 2, ANTHILL__INIT_KIND__INIT_ONE, 0);
    const struct spec_fixture *specs[] = {&rows, &few, &dense};
    fixture_hello(&fixture, SESSION, specs, 3);
    const uint64_t keys[5] = {1, 2, 3, 4, 5};
    fixture_pull(&fixture, SESSION, 1, 0, 0, keys, 5);
    update(&metrics, fixture.shard);
    expect_line("anthill_ps_table_rows{shard=\"2\",table=\"rows\"} 5\n");
    expect_line("anthill_ps_table_rows{shard=\"2\",table=\"a \\\"few\\\" \\\\ rows\"} 0\n");
    expect_line("anthill_ps_rows_created_total{shard=\"2\",table=\"rows\"} 5\n");

    const float nan_grad[DIM] = {1, NAN};
    fixture_push(&fixture, SESSION, 1, 0, 0, keys, 1, nan_grad, DIM);
    fixture_refused(&fixture, STATUS_INVALID, "\"rows\"");
    fixture_pull(&fixture, SESSION, 2, 1, 0, keys, 5);
    fixture_refused(&fixture, STATUS_NOMEM, "rows_max 2");
    assert_int_equal(table_delete(shard_table(fixture.shard, 0), keys, 3), 3);
    const uint64_t chunk = 0;
    fixture_pull(&fixture, SESSION, 3, 2, 0, &chunk, 1);
    update(&metrics, fixture.shard);
    update(&metrics, fixture.shard); /* counts nothing twice */
    expect_line("anthill_ps_table_rows{shard=\"2\",table=\"rows\"} 2\n");
    expect_line("anthill_ps_rows_created_total{shard=\"2\",table=\"rows\"} 5\n");
    expect_line("anthill_ps_rows_deleted_total{shard=\"2\",table=\"rows\"} 3\n");
    expect_line("anthill_ps_rows_evicted_total{shard=\"2\",table=\"rows\"} 0\n");
    expect_line("anthill_ps_rows_expired_total{shard=\"2\",table=\"rows\"} 0\n");
    expect_line("anthill_ps_rows_refused_total{shard=\"2\",table=\"rows\"} 0\n");
    expect_line("anthill_ps_not_finite_pushes_total{shard=\"2\",table=\"rows\"} 1\n");
    expect_line("anthill_ps_sightings_total{shard=\"2\",table=\"rows\"} 0\n");
    expect_line("anthill_ps_rows_refused_total{shard=\"2\",table=\"a \\\"few\\\" \\\\ rows\"} 1\n");
    expect_line("anthill_ps_table_rows{shard=\"2\",table=\"weights\"} 1\n");
    expect_line("anthill_ps_gradient_staleness_updates_count{shard=\"2\",table=\"rows\"} 0\n");
    push_after(&fixture, keys, 3);
    update(&metrics, fixture.shard);
    update(&metrics, fixture.shard);
    const char *name = "anthill_ps_gradient_staleness", *table = "{shard=\"2\",table=\"rows\"";
    char line[128];
    snprintf(line, sizeof line, "%s_updates_bucket%s,le=\"0\"} 0\n", name, table);
    expect_line(line);
    snprintf(line, sizeof line, "%s_updates_bucket%s,le=\"1\"} 1\n", name, table);
    expect_line(line);
    snprintf(line, sizeof line, "%s_updates_sum%s} 1\n", name, table);
    expect_line(line);
    snprintf(line, sizeof line, "%s_clocks_count%s} 0\n", name, table);
    expect_line(line);
    snprintf(line, sizeof line, "%s_seconds_bucket%s,le=\"0.0001\"} 1\n", name, table);
    expect_line(line);
    snprintf(line, sizeof line, "anthill_ps_table_bytes{shard=\"2\",table=\"rows\"} %llu\n",
             (unsigned long long)table_bytes(shard_table(fixture.shard, 0)));
    expect_line(line);
    table_metrics_deinit(&metrics);
    shard_fixture_deinit(&fixture);
}

static void many_tables_are_all_counted_after_a_while(void **state)
{
    (void)state;
    enum { TABLES = 50 };
    struct shard_fixture fixture;
    struct table_metrics metrics = {.shard = 3};
    shard_fixture_init(&fixture);
    for (unsigned i = 0; i < TABLES; i++) {
        char name[16];
        struct spec_fixture spec;
        snprintf(name, sizeof name, "table-%u", i);
        fixture_sparse(&spec, name, DIM, SGD);
        fixture_hello_one(&fixture, SESSION, &spec);
        const uint64_t keys[2] = {i, i + 1};
        fixture_pull(&fixture, SESSION, 1, i, 0, keys, 2);
    }
    for (unsigned beat = 0; beat < TABLES; beat++)
        update(&metrics, fixture.shard);
    for (unsigned i = 0; i < TABLES; i++) {
        char line[128];
        snprintf(line, sizeof line,
                 "anthill_ps_rows_created_total{shard=\"3\",table=\"table-%u\"} 2", i);
        expect_line(line);
    }
    table_metrics_deinit(&metrics);
    shard_fixture_deinit(&fixture);
}

static void shards_that_come_and_go_are_counted_together(void **state)
{
    (void)state;
    struct shard_fixture fixtures[2];
    struct spec_fixture spec;
    struct table_metrics metrics = {.shard = 4};
    const uint64_t keys[3] = {1, 2, 3};
    const struct shard *shards[2];
    fixture_sparse(&spec, "shared", DIM, SGD);
    for (unsigned i = 0; i < 2; i++) {
        shard_fixture_init(&fixtures[i]);
        fixture_hello_one(&fixtures[i], SESSION, &spec);
        fixture_pull(&fixtures[i], SESSION, 1, 0, 0, keys, 3 - i);
        shards[i] = fixtures[i].shard;
    }
    table_metrics_update(&metrics, shards, 1);
    expect_line("anthill_ps_table_rows{shard=\"4\",table=\"shared\"} 3\n");
    table_metrics_update(&metrics, shards, 2);
    expect_line("anthill_ps_table_rows{shard=\"4\",table=\"shared\"} 5\n");
    expect_line("anthill_ps_rows_created_total{shard=\"4\",table=\"shared\"} 5\n");
    shard_clear(fixtures[1].shard);
    table_metrics_update(&metrics, shards, 2);
    expect_line("anthill_ps_table_rows{shard=\"4\",table=\"shared\"} 3\n");
    table_metrics_update(&metrics, NULL, 0);
    expect_line("anthill_ps_table_rows{shard=\"4\",table=\"shared\"} 0\n");
    expect_line("anthill_ps_rows_created_total{shard=\"4\",table=\"shared\"} 5\n");
    table_metrics_deinit(&metrics);
    for (unsigned i = 0; i < 2; i++)
        shard_fixture_deinit(&fixtures[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_table_has_its_own_accounts),
        cmocka_unit_test(many_tables_are_all_counted_after_a_while),
        cmocka_unit_test(shards_that_come_and_go_are_counted_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
