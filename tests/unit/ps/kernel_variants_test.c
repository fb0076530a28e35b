/* Each instruction set's version of the kernels gives the same bits as the plain one, and so does
 * the version that the loader chose. */
#include "tests/unit/ps/kernel_variant.h"

#include <math.h>

#include "common/kernel_clones.h"
#include "tests/unit/ps/ps_fixture.h"

enum { COUNT_MAX = 131, STEPS = 20, RESULT_BYTES = 1 << 20 };

/* What a version computed: appended by every test, compared as bytes. */
struct results {
    uint8_t *bytes;
    size_t used;
};

static void keep(struct results *results, const void *data, size_t bytes)
{
    assert_true(results->used + bytes <= RESULT_BYTES);
    memcpy(results->bytes + results->used, data, bytes);
    results->used += bytes;
}

static void fill_random(struct rng *rng, float *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        values[i] = ldexpf(rng_float(rng) - 0.5f, (int)rng_below(rng, 21) - 10);
}

typedef void run_kernels(const struct kernel_variant *variant, uint64_t seed,
                         struct results *results);

/* STEPS steps of every optimizer at every length, with limits and decay in turns. */
static void run_optimizers(const struct kernel_variant *variant, uint64_t seed,
                           struct results *results)
{
    struct rng rng = rng_make(seed);
    for (int kind = SGD; kind <= ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL; kind++) {
        for (uint32_t count = 1; count <= COUNT_MAX; count += 1 + count / 8) {
            struct spec_fixture fixture;
            fixture_sparse(&fixture, "nodes", count, (Anthill__OptimizerKind)kind);
            fixture.optimizer.momentum = 0.9f;
            fixture.optimizer.l1 = 0.01f;
            fixture.optimizer.l2 = 0.02f;
            fixture.optimizer.ftrl_beta = 1.0f;
            fixture.optimizer.clip_value = count % 2 == 0 ? 10.0f : 0.0f;
            fixture.optimizer.clip_norm = count % 3 == 0 ? 1.0f : 0.0f;
            struct optimizer optimizer = optimizer_make(&fixture.optimizer);
            float row[COUNT_MAX * 3 + 1] = {0}, grads[COUNT_MAX];
            fill_random(&rng, row, count);
            for (int t = 0; t < STEPS; t++) {
                fill_random(&rng, grads, count);
                float decay = count % 5 == 0 ? 0.01f : 0.0f, rate = 0.1f / (float)(t + 1);
                float *rows[] = {NULL, row};
                const float_unaligned *gradients[] = {NULL, grads};
                if (t % 2 == 0) {
                    variant->step(&optimizer, row, row + count, grads, count, decay, rate);
                } else {
                    variant->step_rows(&optimizer, rows, gradients, 2, count, decay, rate);
                }
            }
            keep(results, row, (count + optimizer_state_floats(&optimizer, count)) * sizeof(float));
        }
    }
}

static void run_codecs(const struct kernel_variant *variant, uint64_t seed, struct results *results)
{
    struct rng rng = rng_make(seed);
    const float special[] = {NAN, INFINITY, -INFINITY, 0x1.fffffep127f, 0x1p-149f, -0.0f};
    for (uint32_t count = 1; count <= COUNT_MAX; count++) {
        float values[COUNT_MAX], back[COUNT_MAX];
        uint8_t row[COUNT_MAX * sizeof(float)];
        uint16_t stored[COUNT_MAX];
        fill_random(&rng, values, count);
        if (count % 4 == 0) values[rng_below(&rng, count)] = special[count / 4 % 6];
        for (int encoding = 0; encoding < 3; encoding++) {
            Anthill__Encoding form = (Anthill__Encoding)encoding;
            variant->encode(form, values, row, count);
            keep(results, row, row_codec_bytes(form, count));
            bool finite = variant->row_finite(form, row, count);
            keep(results, &finite, sizeof finite);
            variant->decode(form, row, back, count);
            /* 0 times infinity is a NaN of either sign. */
            for (uint32_t i = 0; i < count; i++)
                back[i] = isnan(back[i]) ? 0.0f : back[i];
            keep(results, back, count * sizeof(float));
        }
        variant->narrow_stochastic(values, stored, count, rng_u64(&rng));
        keep(results, stored, count * sizeof *stored);
    }
}

static void run_sums_and_first_values(const struct kernel_variant *variant, uint64_t seed,
                                      struct results *results)
{
    struct rng rng = rng_make(seed);
    for (uint32_t count = 1; count <= COUNT_MAX; count++) {
        float sums[COUNT_MAX], values[COUNT_MAX];
        fill_random(&rng, sums, count);
        fill_random(&rng, values, count);
        variant->add(sums, values, count);
        keep(results, sums, count * sizeof *sums);
        if (count % 3 == 0) values[rng_below(&rng, count)] = count % 2 == 0 ? NAN : -INFINITY;
        bool finite = variant->all_finite(values, count);
        assert_true(finite == (count % 3 != 0));
        for (int init = 0; init <= ANTHILL__INIT_KIND__INIT_ONE; init++) {
            variant->fill((Anthill__InitKind)init, 0.5f, rng_u64(&rng), count % 7, values, count);
            keep(results, values, count * sizeof *values);
        }
    }
}

#if defined(__x86_64__)

static void compare_versions(run_kernels *run)
{
    const struct kernel_variant shipped = {
        optimizer_step,   optimizer_step_rows,    floats_finite,
        floats_add,       row_codec_encode,       row_codec_decode,
        row_codec_finite, bf16_narrow_stochastic, initializer_fill};
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
              __builtin_cpu_supports("fma");
    bool v4 = v3 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vl");
    const struct {
        const char *name;
        const struct kernel_variant *variant;
        bool runs;
    } versions[] = {{"that the loader chose", &shipped, true},
                    {"x86-64-v3", &kernel_variant_v3, v3},
                    {"x86-64-v4", &kernel_variant_v4, v4}};
    uint64_t seed = fixture_seed();
    struct results plain = {malloc(RESULT_BYTES), 0}, other = {malloc(RESULT_BYTES), 0};
    run(&kernel_variant_v1, seed, &plain);
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        if (!versions[i].runs) {
            print_message("skipped: this processor does not have %s\n", versions[i].name);
            continue;
        }
        other.used = 0;
        run(versions[i].variant, seed, &other);
        assert_int_equal(plain.used, other.used);
        if (memcmp(plain.bytes, other.bytes, plain.used) != 0) {
            fail_msg("the version %s gives other bits than the plain one", versions[i].name);
        }
    }
    free(plain.bytes);
    free(other.bytes);
}

#else

static void compare_versions(run_kernels *run)
{
    (void)run;
    print_message("skipped: this processor's kernels have one version\n");
}

#endif

static void optimizers_give_the_same_bits_on_every_instruction_set(void **state)
{
    (void)state;
    print_message("the loader chose %s\n", kernel_clones_name());
    compare_versions(run_optimizers);
}

static void rows_have_the_same_bits_on_every_instruction_set(void **state)
{
    (void)state;
    compare_versions(run_codecs);
}

static void sums_and_first_values_have_the_same_bits_on_every_instruction_set(void **state)
{
    (void)state;
    compare_versions(run_sums_and_first_values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimizers_give_the_same_bits_on_every_instruction_set),
        cmocka_unit_test(rows_have_the_same_bits_on_every_instruction_set),
        cmocka_unit_test(sums_and_first_values_have_the_same_bits_on_every_instruction_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
