/* Damaged configurations: whatever the bytes, an answer and never a crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/file.h"
#include "common/rng.h"
#include "tests/support/process.h"

static const uint64_t rounds_default = 4000, seed_default = 20240607;

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

/* One change of a kind that breaks YAML in its own way. Returns the new length. */
static size_t mutate(struct rng *rng, char *text, size_t bytes, size_t bytes_max)
{
    static const char marks[] = "{}[]:,-#&*!|>'\"%@` \n\t\\~?0.9eE+\0\xff\xc3";
    size_t at = (size_t)rng_below(rng, bytes), count = 1 + (size_t)rng_below(rng, 40);
    if (count > bytes - at) count = bytes - at;
    switch (rng_below(rng, 6)) {
    case 0:
        text[at] ^= (char)(1 << rng_below(rng, 8));
        return bytes;
    case 1:
        text[at] = marks[rng_below(rng, sizeof marks - 1)];
        return bytes;
    case 2: /* a piece goes */
        memmove(text + at, text + at + count, bytes - at - count);
        return bytes - count > 0 ? bytes - count : 1;
    case 3: /* a piece comes twice */
        if (bytes + count > bytes_max) return bytes;
        memmove(text + at + count, text + at, bytes - at);
        return bytes + count;
    case 4: /* a piece of elsewhere */
        memmove(text + at, text + rng_below(rng, bytes - count + 1), count);
        return bytes;
    default: /* the end is cut off */
        return rng_below(rng, 8) == 0 ? at + 1 : bytes;
    }
}

static void a_damaged_file_is_refused_or_loaded_but_never_crashes(void **state)
{
    (void)state;
    char folder[64], path[FILE_PATH_BYTES], *original;
    size_t original_bytes;
    uint64_t seed = number_from("CONFIG_FUZZ_SEED", seed_default), refused = 0;
    uint64_t rounds = number_from("CONFIG_FUZZ_ROUNDS", rounds_default);
    printf("CONFIG_FUZZ_SEED=%llu CONFIG_FUZZ_ROUNDS=%llu\n", (unsigned long long)seed,
           (unsigned long long)rounds);
    assert_int_equal(file_path(path, NULL, "%s/conf/defaults.yaml", source_dir()), STATUS_OK);
    assert_int_equal(file_read_all(path, 1 << 20, &original, &original_bytes, NULL), STATUS_OK);
    size_t bytes_max = original_bytes + 4096;
    char *text = malloc(bytes_max);
    assert_non_null(text);
    assert_int_equal(file_path(path, NULL, "%s/x.yaml", temporary_folder(folder)), STATUS_OK);
    for (uint64_t round = 0; round < rounds; round++) {
        struct rng rng = rng_make(rng_key(seed, round));
        memcpy(text, original, original_bytes);
        size_t bytes = original_bytes;
        for (uint64_t changes = 1 + rng_below(&rng, 6); changes > 0; changes--)
            bytes = mutate(&rng, text, bytes, bytes_max);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(text, 1, bytes, file), bytes);
        assert_int_equal(fclose(file), 0);
        struct config *config;
        struct error error = {0};
        enum status status = config_load(&config, path, NULL, 0, &error);
        if (status != STATUS_OK) {
            assert_int_equal(status, STATUS_CONFIG);
            assert_true(error.text[0] != 0);
            assert_null(config);
            refused++;
        }
        config_destroy(config);
    }
    /* Both answers are met, or the damage says nothing. */
    assert_in_range(refused, rounds / 4, rounds - rounds / 20);
    free(text);
    free(original);
    remove_folder(folder);
}

static void a_damaged_override_is_refused_or_taken_but_never_crashes(void **state)
{
    (void)state;
    static const char *const overrides[] = {"sampler.fanouts=[4, 5, 6]",
                                            "model.layers=[{type: linear, units: 3}, {type: relu}]",
                                            "train={epochs: 3, batch: 7}",
                                            "optimizer.rate=0.25",
                                            "run.name='a b'",
                                            "model.layers.0.units=3"};
    uint64_t seed = number_from("CONFIG_FUZZ_SEED", seed_default);
    for (uint64_t round = 0; round < rounds_default; round++) {
        struct rng rng = rng_make(rng_key(rng_key(seed, 1), round));
        const char *original = overrides[rng_below(&rng, 6)];
        char text[256] = {0}, *items[] = {text};
        size_t bytes = strlen(original);
        memcpy(text, original, bytes);
        for (uint64_t changes = 1 + rng_below(&rng, 3); changes > 0; changes--)
            bytes = mutate(&rng, text, bytes, 200);
        text[bytes] = 0;
        struct config *config;
        struct error error = {0};
        enum status status = config_load(&config, NULL, items, 1, &error);
        if (status != STATUS_OK) {
            assert_int_equal(status, STATUS_CONFIG);
            assert_true(error.text[0] != 0);
        }
        config_destroy(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_damaged_file_is_refused_or_loaded_but_never_crashes),
        cmocka_unit_test(a_damaged_override_is_refused_or_taken_but_never_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
