/* Each optimizer against the same formula in double, written down independently. */
#include "ps/optimizer.h"

#include <math.h>

#include "tests/unit/ps/ps_fixture.h"

enum { COUNT_MAX = 67, STEPS = 50 };

struct reference {
    double x[COUNT_MAX], s[COUNT_MAX], m[COUNT_MAX], v[COUNT_MAX];
};

/* One step of element i at step number t, in double. */
static void reference_step(struct reference *r, const Anthill__OptimizerSpec *spec, int i, int t,
                           double grad, double decay, double rate_scale)
{
    double rate = (double)spec->rate * rate_scale, g = grad + decay * r->x[i];
    double b1 = (double)spec->beta1, b2 = (double)spec->beta2, e = (double)spec->epsilon;
    if (spec->kind == SGD) {
        r->x[i] -= rate * g;
    } else if (spec->kind == ADAGRAD) {
        r->s[i] += g * g;
        r->x[i] -= rate * g / (sqrt(r->s[i]) + e);
    } else {
        r->m[i] = b1 * r->m[i] + (1 - b1) * g;
        r->v[i] = b2 * r->v[i] + (1 - b2) * g * g;
        double m = r->m[i] / (1 - pow(b1, t)), v = r->v[i] / (1 - pow(b2, t));
        r->x[i] -= rate * m / (sqrt(v) + e);
    }
}

/* `count` values for STEPS steps, gradients one byte off alignment. */
static void compare_with_reference(Anthill__OptimizerKind kind, uint32_t count, double decay)
{
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", count, kind);
    fixture.optimizer.rate = 0.05f;
    struct optimizer optimizer = optimizer_make(&fixture.optimizer);
    uint32_t state = optimizer_state_floats(&optimizer, count);
    float *row = calloc(count + state, sizeof *row);
    uint8_t *memory = malloc(count * sizeof(float) + 1);
    float_unaligned *grads = (float_unaligned *)(memory + 1);
    struct reference reference = {0};
    struct rng rng = rng_make(fixture.spec.dim);
    for (uint32_t i = 0; i < count; i++)
        reference.x[i] = (double)(row[i] = rng_float(&rng));
    for (int t = 1; t <= STEPS; t++) {
        float rate_scale = 1.0f / (float)t;
        for (uint32_t i = 0; i < count; i++) {
            grads[i] = rng_float(&rng) - 0.5f;
            reference_step(&reference, &fixture.optimizer, (int)i, t, (double)grads[i], decay,
                           (double)rate_scale);
        }
        optimizer_step(&optimizer, row, row + count, grads, count, (float)decay,
                       optimizer_rate(&optimizer, rate_scale, 0));
        for (uint32_t i = 0; i < count; i++)
            assert_true(fabs((double)row[i] - reference.x[i]) < 2e-6);
    }
    free(row);
    free(memory);
}

static void steps_agree_with_the_formula_in_double(void **state)
{
    (void)state;
    const Anthill__OptimizerKind kinds[] = {SGD, ADAGRAD, ADAM};
    const uint32_t counts[] = {1, 3, 16, 31, 64, COUNT_MAX};
    for (int k = 0; k < 3; k++) {
        for (int c = 0; c < 6; c++) {
            compare_with_reference(kinds[k], counts[c], 0);
            compare_with_reference(kinds[k], counts[c], 0.0625);
        }
    }
}

static void state_is_what_the_optimizer_says_and_no_more(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    const Anthill__OptimizerKind kinds[] = {SGD, ADAGRAD, ADAM};
    const uint32_t expected[] = {0, 5, 11};
    for (int k = 0; k < 3; k++) {
        fixture_sparse(&fixture, "nodes", 5, kinds[k]);
        struct optimizer optimizer = optimizer_make(&fixture.optimizer);
        uint32_t floats = optimizer_state_floats(&optimizer, 5);
        assert_int_equal(floats, expected[k]);
        float row[64] = {0}, grads[5] = {1, 1, 1, 1, 1};
        for (int i = 0; i < 64; i++)
            row[i] = i < 5 + (int)floats ? 0.0f : 99.0f;
        optimizer_step(&optimizer, row, row + 5, grads, 5, 0, optimizer_rate(&optimizer, 1, 0));
        for (uint32_t i = 0; i < 5 + floats; i++)
            assert_true(row[i] != 0.0f);
        for (uint32_t i = 5 + floats; i < 64; i++)
            assert_true(row[i] == 99.0f);
    }
}

static void saved_state_gives_the_same_next_step(void **state)
{
    (void)state;
    const Anthill__OptimizerKind kinds[] = {SGD, ADAGRAD, ADAM};
    for (int k = 0; k < 3; k++) {
        struct spec_fixture fixture;
        fixture_sparse(&fixture, "nodes", 7, kinds[k]);
        struct optimizer optimizer = optimizer_make(&fixture.optimizer);
        float row[22] = {1, 2, 3, 4, 5, 6, 7}, saved[22];
        float grads[7] = {0.1f, -0.2f, 0.3f, -0.4f, 0.5f, -0.6f, 0.7f};
        for (int t = 0; t < 5; t++)
            optimizer_step(&optimizer, row, row + 7, grads, 7, 0.01f, 0.05f);
        memcpy(saved, row, sizeof saved);
        optimizer_step(&optimizer, row, row + 7, grads, 7, 0.01f, 0.05f);
        struct optimizer again = optimizer_make(&fixture.optimizer);
        optimizer_step(&again, saved, saved + 7, grads, 7, 0.01f, 0.05f);
        assert_memory_equal(row, saved, sizeof row);
    }
}

/* A row that was never pushed takes its first Adam step with the first step's correction: by the
 * whole rate, however many steps other rows have made. */
static void adam_counts_the_steps_of_each_row(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 1, ADAM);
    struct optimizer optimizer = optimizer_make(&fixture.optimizer);
    float busy[4] = {0}, fresh[4] = {0}, grad = 0.5f;
    for (int t = 0; t < 1000; t++)
        optimizer_step(&optimizer, busy, busy + 1, &grad, 1, 0, optimizer_rate(&optimizer, 1, 0));
    optimizer_step(&optimizer, fresh, fresh + 1, &grad, 1, 0, optimizer_rate(&optimizer, 1, 0));
    assert_true(fabsf(fresh[0] + 0.1f) < 1e-6f);
    assert_true(busy[3] == 1000.0f);
    /* The count stops where floats end; the correction is 1 by then. */
    busy[3] = 0x1p24f;
    optimizer_step(&optimizer, busy, busy + 1, &grad, 1, 0, optimizer_rate(&optimizer, 1, 0));
    assert_true(busy[3] == 0x1p24f);
    assert_true(isfinite(busy[0]));
}

static void only_finite_floats_are_finite(void **state)
{
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    float floats[COUNT_MAX];
    for (uint32_t count = 1; count <= COUNT_MAX; count++) {
        for (uint32_t i = 0; i < count; i++)
            floats[i] = i % 3 == 0 ? 0x1.fffffep127f : (i % 3 == 1 ? -0x1p-149f : -0.0f);
        assert_true(floats_finite(floats, count));
        for (uint32_t place = 0; place < count; place++) {
            float kept = floats[place];
            floats[place] = bad[(place + count) % 4];
            assert_false(floats_finite(floats, count));
            floats[place] = kept;
        }
    }
    assert_true(floats_finite(floats, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_agree_with_the_formula_in_double),
        cmocka_unit_test(state_is_what_the_optimizer_says_and_no_more),
        cmocka_unit_test(saved_state_gives_the_same_next_step),
        cmocka_unit_test(adam_counts_the_steps_of_each_row),
        cmocka_unit_test(only_finite_floats_are_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
