/* Each optimizer against the same formula in double, written down independently. */
#include "ps/optimizer.h"

#include <math.h>

#include "tests/unit/ps/ps_fixture.h"

#define MOMENTUM        ANTHILL__OPTIMIZER_KIND__OPTIMIZER_MOMENTUM
#define ROWWISE_ADAGRAD ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ROWWISE_ADAGRAD
#define ADAMW           ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAMW
#define FTRL            ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL

enum { COUNT_MAX = 67, STEPS = 50, KINDS = 7 };

static const Anthill__OptimizerKind kinds[KINDS] = {SGD,  MOMENTUM, ADAGRAD, ROWWISE_ADAGRAD,
                                                    ADAM, ADAMW,    FTRL};

/* A spec of `kind` for rows of `count` floats with something in every field that it uses. */
static void fixture_of(struct spec_fixture *fixture, Anthill__OptimizerKind kind, uint32_t count)
{
    fixture_sparse(fixture, "nodes", count, kind);
    fixture->optimizer.rate = 0.05f;
    fixture->optimizer.momentum = 0.75f;
    fixture->optimizer.l1 = 0.125f;
    fixture->optimizer.l2 = 0.25f;
    fixture->optimizer.ftrl_beta = 1.0f;
}

struct reference {
    double x[COUNT_MAX], s[COUNT_MAX], m[COUNT_MAX], v[COUNT_MAX];
};

/* Algorithm 1 of McMahan et al. 2013 for one coordinate: s is n and m is z. */
static void reference_ftrl(struct reference *r, const Anthill__OptimizerSpec *spec, uint32_t i,
                           double g, double rate_scale)
{
    double alpha = (double)spec->rate, beta = (double)spec->ftrl_beta;
    double l1 = (double)spec->l1, l2 = (double)spec->l2, sign = r->x[i] < 0 ? -1 : 1;
    if (r->s[i] == 0 && r->x[i] != 0) r->m[i] = -r->x[i] * (beta / alpha + l2) - sign * l1;
    double sigma = (sqrt(r->s[i] + g * g) - sqrt(r->s[i])) / alpha;
    r->m[i] += rate_scale * g - sigma * r->x[i];
    r->s[i] += g * g;
    double z = r->m[i], rest = z < 0 ? z + l1 : z - l1;
    r->x[i] = fabs(z) <= l1 ? 0 : -rest / ((beta + sqrt(r->s[i])) / alpha + l2);
}

/* One step of element i at step number t, in double; `mean_square` is that of the row's gradient.
 */
static void reference_element(struct reference *r, const Anthill__OptimizerSpec *spec, uint32_t i,
                              int t, double g, double mean_square, double decay, double rate_scale)
{
    double rate = (double)spec->rate * rate_scale;
    double b1 = (double)spec->beta1, b2 = (double)spec->beta2, e = (double)spec->epsilon;
    switch (spec->kind) {
    case SGD:
        r->x[i] -= rate * g;
        return;
    case MOMENTUM:
        r->v[i] = (double)spec->momentum * r->v[i] + g;
        r->x[i] -= rate * r->v[i];
        return;
    case ADAGRAD:
    case ROWWISE_ADAGRAD:
        r->s[i] += spec->kind == ADAGRAD ? g * g : mean_square;
        r->x[i] -= rate * g / (sqrt(r->s[i]) + e);
        return;
    case FTRL:
        reference_ftrl(r, spec, i, g, rate_scale);
        return;
    default:
        if (spec->kind == ADAMW) r->x[i] -= rate * decay * r->x[i];
        r->m[i] = b1 * r->m[i] + (1 - b1) * g;
        r->v[i] = b2 * r->v[i] + (1 - b2) * g * g;
        double m = r->m[i] / (1 - pow(b1, t)), v = r->v[i] / (1 - pow(b2, t));
        r->x[i] -= rate * m / (sqrt(v) + e);
    }
}

/* One step of a row: the gradient is clipped, then decay is added to it where it is L2. */
static void reference_step(struct reference *r, const Anthill__OptimizerSpec *spec, uint32_t count,
                           int t, const float_unaligned *grads, double decay, double rate_scale)
{
    double g[COUNT_MAX], square = 0, mean_square = 0, value = (double)spec->clip_value;
    for (uint32_t i = 0; i < count; i++) {
        g[i] = (double)grads[i];
        if (value > 0 && fabs(g[i]) > value) g[i] = g[i] < 0 ? -value : value;
        square += g[i] * g[i];
    }
    double norm = sqrt(square), most = (double)spec->clip_norm;
    for (uint32_t i = 0; i < count; i++) {
        if (most > 0 && norm > most) g[i] *= most / norm;
        if (spec->kind != ADAMW) g[i] += decay * r->x[i];
        mean_square += g[i] * g[i] / count;
    }
    for (uint32_t i = 0; i < count; i++)
        reference_element(r, spec, i, t, g[i], mean_square, decay, rate_scale);
}

/* `count` values for STEPS steps, gradients one byte off alignment. */
static void compare_with_reference(const Anthill__OptimizerSpec *spec, uint32_t count, double decay)
{
    struct optimizer optimizer = optimizer_make(spec);
    uint32_t state = optimizer_state_floats(&optimizer, count);
    float *row = calloc(count + state, sizeof *row);
    uint8_t *memory = malloc(count * sizeof(float) + 1);
    float_unaligned *grads = (float_unaligned *)(memory + 1);
    struct reference reference = {0};
    struct rng rng = rng_make(count);
    for (uint32_t i = 0; i < count; i++)
        reference.x[i] = (double)(row[i] = rng_float(&rng) - 0.25f);
    for (int t = 1; t <= STEPS; t++) {
        float rate_scale = 1.0f / (float)t;
        for (uint32_t i = 0; i < count; i++)
            grads[i] = rng_float(&rng) - 0.5f;
        reference_step(&reference, spec, count, t, grads, decay, (double)rate_scale);
        optimizer_step(&optimizer, row, row + count, grads, count, (float)decay,
                       optimizer_rate(&optimizer, rate_scale, 0));
        for (uint32_t i = 0; i < count; i++) {
            if (fabs((double)row[i] - reference.x[i]) >= 2e-6) {
                fail_msg("optimizer %d, %u floats, step %d: [%u] is %.9g, not %.9g",
                         (int)spec->kind, count, t, i, (double)row[i], reference.x[i]);
            }
        }
    }
    free(row);
    free(memory);
}

static void steps_agree_with_the_formula_in_double(void **state)
{
    (void)state;
    const uint32_t counts[] = {1, 3, 16, 31, 64, COUNT_MAX};
    for (int k = 0; k < KINDS; k++) {
        for (int c = 0; c < 6; c++) {
            struct spec_fixture fixture;
            fixture_of(&fixture, kinds[k], counts[c]);
            compare_with_reference(&fixture.optimizer, counts[c], 0);
            if (kinds[k] == FTRL) continue; /* has l2 in place of weight decay */
            compare_with_reference(&fixture.optimizer, counts[c], 0.0625);
        }
    }
}

/* Gradients are in [-0.5, 0.5): about half of them are cut, and most rows are too long. */
static void gradients_are_clipped_by_value_then_by_norm_before_the_decay(void **state)
{
    (void)state;
    const uint32_t counts[] = {1, 3, 16, 31, 64, COUNT_MAX};
    const float limits[][2] = {{0.25f, 0}, {0, 0.75f}, {0.25f, 0.75f}, {0, 1e30f}};
    for (int k = 0; k < KINDS; k++) {
        for (int c = 0; c < 6; c++) {
            for (int l = 0; l < 4; l++) {
                struct spec_fixture fixture;
                fixture_of(&fixture, kinds[k], counts[c]);
                fixture.optimizer.clip_value = limits[l][0];
                fixture.optimizer.clip_norm = limits[l][1];
                compare_with_reference(&fixture.optimizer, counts[c],
                                       kinds[k] == FTRL ? 0 : 0.0625);
            }
        }
    }
}

/* What no limit touches takes the same step as without limits, to the bit. */
static void limits_that_are_not_reached_change_no_bit(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        struct spec_fixture fixture;
        fixture_of(&fixture, kinds[k], 19);
        float free_row[57 + 1] = {1, 2, 3}, clipped[57 + 1] = {1, 2, 3}, grads[19];
        for (int i = 0; i < 19; i++)
            grads[i] = (float)(i - 9) / 16;
        struct optimizer optimizer = optimizer_make(&fixture.optimizer);
        optimizer_step(&optimizer, free_row, free_row + 19, grads, 19, 0, 0.05f);
        optimizer.clip_value = 1.0f;
        optimizer.clip_norm = 100.0f;
        optimizer_step(&optimizer, clipped, clipped + 19, grads, 19, 0, 0.05f);
        assert_memory_equal(free_row, clipped, sizeof clipped);
    }
}

static void a_norm_beyond_the_floats_is_clipped_all_the_same(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_of(&fixture, SGD, 4);
    fixture.optimizer.clip_norm = 2.0f;
    struct optimizer optimizer = optimizer_make(&fixture.optimizer);
    float row[4] = {0}, grads[4] = {0x1p127f, -0x1p127f, 0x1p127f, -0x1p127f};
    optimizer_step(&optimizer, row, row + 4, grads, 4, 0, 1.0f);
    for (int i = 0; i < 4; i++)
        assert_true(row[i] == (i % 2 == 0 ? -1.0f : 1.0f));
}

static void state_is_what_the_optimizer_says_and_no_more(void **state)
{
    (void)state;
    const uint32_t expected[KINDS] = {0, 5, 5, 1, 11, 11, 10};
    for (int k = 0; k < KINDS; k++) {
        struct spec_fixture fixture;
        fixture_of(&fixture, kinds[k], 5);
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
    for (int k = 0; k < KINDS; k++) {
        struct spec_fixture fixture;
        fixture_of(&fixture, kinds[k], 7);
        fixture.optimizer.clip_norm = 0.5f;
        struct optimizer optimizer = optimizer_make(&fixture.optimizer);
        float row[22] = {1, 2, 3, 4, 5, 6, 7}, saved[22], before[22];
        float grads[7] = {0.1f, -0.2f, 0.3f, -0.4f, 0.5f, -0.6f, 0.7f};
        float decay = kinds[k] == FTRL ? 0.0f : 0.01f;
        for (int t = 0; t < 5; t++)
            optimizer_step(&optimizer, row, row + 7, grads, 7, decay, 0.05f);
        memcpy(saved, row, sizeof saved);
        memcpy(before, row, sizeof before);
        optimizer_step(&optimizer, row, row + 7, grads, 7, decay, 0.05f);
        assert_memory_not_equal(row, before, 7 * sizeof(float));
        struct optimizer again = optimizer_make(&fixture.optimizer);
        optimizer_step(&again, saved, saved + 7, grads, 7, decay, 0.05f);
        assert_memory_equal(row, saved, sizeof row);
    }
}

/* Without l1 and l2 FTRL is gradient descent whose rate falls with the sum of squared gradients
 * (McMahan et al. 2013, section 3), also where the rate follows a schedule and the values do not
 * start at 0. */
static void ftrl_without_penalties_is_gradient_descent(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_of(&fixture, FTRL, 4);
    fixture.optimizer.l1 = fixture.optimizer.l2 = 0;
    struct optimizer optimizer = optimizer_make(&fixture.optimizer);
    float row[12] = {1, -2, 0, 0.5f}, grads[4];
    double x[4] = {1, -2, 0, 0.5}, n[4] = {0};
    struct rng rng = rng_make(3);
    for (int t = 0; t < STEPS; t++) {
        float rate = optimizer_rate(&optimizer, t < 25 ? 1.0f : 0.125f * (float)(t % 3), 0);
        for (int i = 0; i < 4; i++) {
            grads[i] = rng_float(&rng) - 0.5f;
            n[i] += (double)grads[i] * (double)grads[i];
            x[i] -= (double)rate / (1 + sqrt(n[i])) * (double)grads[i];
        }
        optimizer_step(&optimizer, row, row + 4, grads, 4, 0, rate);
        for (int i = 0; i < 4; i++)
            assert_true(fabs((double)row[i] - x[i]) < 2e-6);
    }
}

static void ftrl_sets_values_that_l1_outweighs_to_zero(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_of(&fixture, FTRL, 3);
    fixture.optimizer.l1 = 1.0f;
    struct optimizer optimizer = optimizer_make(&fixture.optimizer);
    float row[9] = {0}, grads[3] = {0.5f, -0.5f, 3.0f};
    optimizer_step(&optimizer, row, row + 3, grads, 3, 0, 0.05f);
    assert_true(row[0] == 0.0f && row[1] == 0.0f && row[2] < 0.0f);
    for (int t = 0; t < 2; t++)
        optimizer_step(&optimizer, row, row + 3, grads, 3, 0, 0.05f);
    assert_true(row[0] < 0.0f && row[1] > 0.0f); /* z is 1.5 by now */
    /* A gradient whose square is infinite leaves numbers. */
    float large[3] = {1e30f, 0, -1e30f}, zeros[9] = {0};
    optimizer_step(&optimizer, zeros, zeros + 3, large, 3, 0, 0.05f);
    optimizer_step(&optimizer, zeros, zeros + 3, large, 3, 0, 0.05f);
    assert_true(floats_finite(zeros, 9));
}

static void adamw_shrinks_values_by_the_rate_alone(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_of(&fixture, ADAMW, 2);
    struct optimizer optimizer = optimizer_make(&fixture.optimizer);
    float row[7] = {8, -8}, grads[2] = {0, 0};
    optimizer_step(&optimizer, row, row + 2, grads, 2, 0.5f, 0.25f);
    assert_true(row[0] == 7.0f && row[1] == -7.0f);
    assert_true(row[2] == 0.0f && row[4] == 0.0f); /* no moment knows of it */
}

static void the_rate_follows_the_clock_of_the_push(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_of(&fixture, SGD, 1);
    fixture.optimizer.rate = 0.5f;
    struct optimizer optimizer = optimizer_make(&fixture.optimizer);
    assert_true(optimizer_rate(&optimizer, 0.5f, 123456789) == 0.25f);
    fixture.optimizer.schedule = ANTHILL__SCHEDULE_KIND__SCHEDULE_LINEAR;
    fixture.optimizer.warmup_clocks = 10;
    fixture.optimizer.total_clocks = 110;
    fixture.optimizer.rate_final = 0.5f;
    optimizer = optimizer_make(&fixture.optimizer);
    assert_true(optimizer_rate(&optimizer, 1, 0) == 0.0f);
    assert_true(optimizer_rate(&optimizer, 1, 5) == 0.25f);
    assert_true(optimizer_rate(&optimizer, 1, 10) == 0.5f);
    assert_true(optimizer_rate(&optimizer, 1, 60) == 0.375f);
    assert_true(optimizer_rate(&optimizer, 1, UINT64_MAX) == 0.25f);
    fixture.optimizer.schedule = ANTHILL__SCHEDULE_KIND__SCHEDULE_COSINE;
    optimizer = optimizer_make(&fixture.optimizer);
    assert_true(fabsf(optimizer_rate(&optimizer, 2, 60) - 0.75f) < 1e-7f);
    assert_true(optimizer_rate(&optimizer, 2, 110) == 0.5f);
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

/* The corrections at step counts far apart, and with betas at both ends of their range. */
static void adam_corrects_the_bias_of_any_step(void **state)
{
    (void)state;
    const float betas[] = {0, 0.5f, 0.9f, 0.999f, 0x1.fffffep-1f};
    const float steps[] = {0, 1, 2, 99, 355, 1000, 41000, 42000, 1e6f, 0x1p24f - 2, 0x1p24f};
    for (int b = 0; b < 5; b++) {
        struct spec_fixture fixture;
        fixture_of(&fixture, ADAM, 1);
        fixture.optimizer.beta1 = fixture.optimizer.beta2 = betas[b];
        struct optimizer optimizer = optimizer_make(&fixture.optimizer);
        for (int s = 0; s < 11; s++) {
            float row[4] = {0, 0.25f, 1.0f, steps[s]}, grad = 0.5f;
            double beta = (double)betas[b], t = fmin((double)steps[s] + 1, 0x1p24);
            double m = beta * 0.25 + (1 - beta) * 0.5, v = beta + (1 - beta) * 0.25;
            double bias = 1 - pow(beta, t), e = (double)fixture.optimizer.epsilon;
            double expected = -0.05 * (m / bias) / (sqrt(v / bias) + e);
            optimizer_step(&optimizer, row, row + 1, &grad, 1, 0, 0.05f);
            assert_true(fabs((double)row[0] - expected) <= 1e-6 * fabs(expected));
            assert_true((double)row[3] == t);
        }
    }
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
        cmocka_unit_test(gradients_are_clipped_by_value_then_by_norm_before_the_decay),
        cmocka_unit_test(limits_that_are_not_reached_change_no_bit),
        cmocka_unit_test(a_norm_beyond_the_floats_is_clipped_all_the_same),
        cmocka_unit_test(state_is_what_the_optimizer_says_and_no_more),
        cmocka_unit_test(saved_state_gives_the_same_next_step),
        cmocka_unit_test(ftrl_without_penalties_is_gradient_descent),
        cmocka_unit_test(ftrl_sets_values_that_l1_outweighs_to_zero),
        cmocka_unit_test(adamw_shrinks_values_by_the_rate_alone),
        cmocka_unit_test(the_rate_follows_the_clock_of_the_push),
        cmocka_unit_test(adam_counts_the_steps_of_each_row),
        cmocka_unit_test(adam_corrects_the_bias_of_any_step),
        cmocka_unit_test(only_finite_floats_are_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
