/* The coordinator dies at every point of every turn of a run, and is started again from what it
 * saved: each lease counts exactly once all the same, and the run ends as it would have. */
#include "coordinator_sim.h"

#define LEASES_PER_EPOCH 5 /* 25 seeds in leases of 5; one more number for the evaluation */

static uint64_t count_of(const char *text, const char *part)
{
    uint64_t count = 0;
    for (const char *at = text; at != NULL && (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

/* `exact`: no worker has died, so that each lease was reported to someone who lives. */
static void check_end(const struct sim *sim, bool exact)
{
    char part[64];
    assert_int_equal(sim->end_status, STATUS_OK);
    assert_non_null(strstr(sim->result.data, "\"status\":\"ok\""));
    assert_non_null(strstr(sim->result.data, "\"epochs\":6,"));
    assert_non_null(strstr(sim->result.data, "\"seeds\":150,"));
    for (uint64_t epoch = 0; epoch < 6; epoch++) {
        uint64_t evaluations = epoch % 2 == 1;
        snprintf(part, sizeof part, "\"epoch\":%u,", (unsigned)epoch + 1);
        assert_int_equal(count_of(sim->lines.data, part), 1 + evaluations);
        for (uint64_t i = 0; i <= LEASES_PER_EPOCH; i++) {
            uint64_t id = 1 + epoch * (LEASES_PER_EPOCH + 1) + i;
            uint64_t expected = i < LEASES_PER_EPOCH || evaluations;
            if (exact) {
                assert_int_equal(sim->counted[id], expected);
            } else {
                assert_true(sim->counted[id] <= expected);
            }
        }
    }
}

static void a_run_without_faults_counts_every_lease_once(void **state)
{
    (void)state;
    struct sim *sim = sim_create(0);
    assert_true(sim_run(sim, 60));
    check_end(sim, true);
    assert_non_null(strstr(sim->result.data, "\"workers_lost\":0"));
    assert_non_null(strstr(sim->result.data, "\"servers_restarted\":0"));
    sim_destroy(sim);
}

static void a_crash_at_any_point_changes_nothing_that_counts(void **state)
{
    (void)state;
    struct sim *calm = sim_create(0);
    assert_true(sim_run(calm, 60));
    uint64_t turns = calm->turns;
    sim_destroy(calm);
    assert_true(turns > 100);
    for (uint64_t turn = 1; turn <= turns; turn++) {
        for (unsigned point = 0; point < SIM_POINTS; point++) {
            struct sim *sim = sim_create(0);
            sim->crash_turn = turn;
            sim->crash_point = (enum sim_point)point;
            bool ended = sim_run(sim, 120);
            if (!ended || sim->end_status != STATUS_OK)
                print_message("crash at turn %u, point %u\n", (unsigned)turn, point);
            assert_true(ended);
            /* The last turn has no outbox. */
            assert_true(sim->crashes == 1 || turn + 1 >= turns);
            check_end(sim, true);
            assert_non_null(strstr(sim->result.data, "\"workers_lost\":0"));
            sim_destroy(sim);
        }
    }
}

/* ANTHILL_SIM_SEED=N runs that seed alone. */
static void runs_end_well_under_random_faults(void **state)
{
    (void)state;
    const char *only = getenv("ANTHILL_SIM_SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only != NULL ? first : 400;
    for (uint64_t seed = first; seed <= last; seed++) {
        struct sim *sim = sim_create(seed);
        sim->loss_percent = (uint32_t)(seed % 4) * 5;
        sim->repeat_percent = (uint32_t)(seed % 3) * 5;
        sim->chaos = true;
        sim->options.timeout_ns = 600 * SIM_S;
        bool ended = sim_run(sim, 1000);
        if (!ended || sim->end_status != STATUS_OK)
            print_message("ANTHILL_SIM_SEED=%u fails\n%s\n", (unsigned)seed, sim->result.data);
        assert_true(ended);
        check_end(sim, false);
        sim_destroy(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_without_faults_counts_every_lease_once),
        cmocka_unit_test(a_crash_at_any_point_changes_nothing_that_counts),
        cmocka_unit_test(runs_end_well_under_random_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
