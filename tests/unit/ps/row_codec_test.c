/* The forms of rows in payload frames and in tables: what they keep, how far they are off, and that
 * stochastic rounding is right in the mean. */
#include "ps/row_codec.h"

#include <float.h>
#include <math.h>

#include "tests/unit/ps/ps_fixture.h"

#define F32  ANTHILL__ENCODING__ENCODING_F32
#define BF16 ANTHILL__ENCODING__ENCODING_BF16
#define INT8 ANTHILL__ENCODING__ENCODING_INT8

enum { COUNT_MAX = 131 };

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Encodes and decodes with the row one byte off alignment, and checks that no byte behind it is
 * touched. */
static void there_and_back(Anthill__Encoding encoding, const float *values, float *back,
                           uint32_t count)
{
    size_t bytes = row_codec_bytes(encoding, count);
    uint8_t *row = malloc(bytes + 2);
    row[bytes + 1] = 0xa5;
    row_codec_encode(encoding, values, row + 1, count);
    assert_int_equal(row[bytes + 1], 0xa5);
    row_codec_decode(encoding, row + 1, back, count);
    free(row);
}

/* Every magnitude from 2^-20 to 2^20, both signs. */
static void fill_random(struct rng *rng, float *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        values[i] = ldexpf(rng_float(rng) - 0.5f, (int)rng_below(rng, 41) - 20);
    }
}

static void rows_have_the_size_that_the_form_states(void **state)
{
    (void)state;
    assert_int_equal(row_codec_bytes(F32, 64), 256);
    assert_int_equal(row_codec_bytes(BF16, 64), 128);
    assert_int_equal(row_codec_bytes(INT8, 64), 68);
    assert_int_equal(row_codec_bytes((Anthill__Encoding)3, 64), 0);
}

static void f32_keeps_every_bit(void **state)
{
    (void)state;
    const float values[] = {0.0f, -0.0f, NAN, INFINITY, FLT_MIN, FLT_TRUE_MIN, -FLT_MAX};
    float back[7];
    there_and_back(F32, values, back, 7);
    assert_memory_equal(values, back, sizeof values);
}

/* The nearest bf16 by looking at both neighbours, in double. */
static float nearest_bf16(float value)
{
    uint32_t below = bits_of(value) & 0xffff0000u, above = below + 0x10000u;
    double low = (double)float_of(below), high = (double)float_of(above), exact = (double)value;
    double to_low = fabs(exact - low), to_high = fabs(high - exact);
    if (to_low == to_high) return float_of(below & 0x10000u ? above : below);
    return to_low < to_high ? float_of(below) : float_of(above);
}

static void bf16_is_the_nearest_and_ties_go_to_the_even_one(void **state)
{
    (void)state;
    struct rng rng = rng_make(fixture_seed());
    float values[COUNT_MAX], back[COUNT_MAX];
    for (uint32_t count = 1; count <= COUNT_MAX; count++) {
        fill_random(&rng, values, count);
        there_and_back(BF16, values, back, count);
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(bits_of(back[i]), bits_of(nearest_bf16(values[i])));
        /* What is a bf16 already comes back as it is. */
        memcpy(values, back, sizeof values);
        there_and_back(BF16, values, back, count);
        assert_memory_equal(values, back, count * sizeof(float));
    }
    const float ties[] = {float_of(0x3f808000u), float_of(0x3f818000u), float_of(0xbf808000u)};
    there_and_back(BF16, ties, back, 3);
    assert_int_equal(bits_of(back[0]), 0x3f800000u);
    assert_int_equal(bits_of(back[1]), 0x3f820000u);
    assert_int_equal(bits_of(back[2]), 0xbf800000u);
}

static void bf16_keeps_what_is_not_a_number_and_saturates_what_is(void **state)
{
    (void)state;
    const float values[] = {INFINITY, -INFINITY, NAN,          float_of(0xff800001u),
                            FLT_MAX,  -FLT_MAX,  FLT_TRUE_MIN, -0.0f};
    float back[8];
    there_and_back(BF16, values, back, 8);
    assert_true(back[0] == INFINITY && back[1] == -INFINITY);
    assert_true(isnan(back[2]) && isnan(back[3]));
    assert_int_equal(bits_of(back[4]), 0x7f7f0000u);
    assert_int_equal(bits_of(back[5]), 0xff7f0000u);
    assert_int_equal(bits_of(back[6]), 0);
    assert_int_equal(bits_of(back[7]), 0x80000000u);
    for (int word = 0; word < 16; word++) {
        uint16_t stored[8];
        bf16_narrow_stochastic(values, stored, 8, UINT64_C(0x123456789abcdef1) * (uint64_t)word);
        bf16_widen(stored, back, 8);
        assert_true(back[0] == INFINITY && back[1] == -INFINITY);
        assert_true(isnan(back[2]) && isnan(back[3]));
        assert_int_equal(bits_of(back[4]), 0x7f7f0000u);
        assert_int_equal(bits_of(back[5]), 0xff7f0000u);
    }
}

/* Over n random words the mean of k values at distance d apart, of which a share p is the upper
 * one, has a standard deviation of d * sqrt(p (1 - p) / n). Six of them bound it: one test in 10^9
 * would fail by chance, and the seed is fixed. */
static void stochastic_rounding_is_right_in_the_mean(void **state)
{
    (void)state;
    enum { WORDS = 20000, COUNT = 33 };
    struct rng rng = rng_make(fixture_seed());
    float values[COUNT], back[COUNT];
    double sums[COUNT] = {0}, all = 0, variance = 0;
    uint16_t stored[COUNT];
    fill_random(&rng, values, COUNT);
    for (int word = 0; word < WORDS; word++) {
        bf16_narrow_stochastic(values, stored, COUNT, rng_u64(&rng));
        bf16_widen(stored, back, COUNT);
        for (int i = 0; i < COUNT; i++) {
            uint32_t below = bits_of(values[i]) & 0xffff0000u;
            assert_true(bits_of(back[i]) == below || bits_of(back[i]) == below + 0x10000u);
            sums[i] += (double)back[i];
        }
    }
    for (int i = 0; i < COUNT; i++) {
        uint32_t below = bits_of(values[i]) & 0xffff0000u;
        double apart = fabs((double)float_of(below + 0x10000u) - (double)float_of(below));
        double up = (double)(bits_of(values[i]) & 0xffffu) / 65536;
        double off = (sums[i] / WORDS - (double)values[i]) / apart;
        double deviation = sqrt(up * (1 - up) / WORDS);
        assert_true(fabs(off) <= 6 * deviation);
        all += off;
        variance += deviation * deviation;
    }
    /* Elements of a row are independent of each other, too. */
    assert_true(fabs(all) <= 6 * sqrt(variance));
}

/* The simplest sequence of words must do: a table may count them. */
static void words_that_count_round_right_in_the_mean(void **state)
{
    (void)state;
    enum { WORDS = 16384 };
    const float values[4] = {float_of(0x3f804000u), float_of(0x3f808000u), float_of(0x3f80c000u),
                             float_of(0x3f800100u)};
    double ups[4] = {0};
    for (uint64_t word = 0; word < WORDS; word++) {
        uint16_t stored[4];
        bf16_narrow_stochastic(values, stored, 4, word);
        for (int i = 0; i < 4; i++)
            ups[i] += stored[i] - 0x3f80;
    }
    const double shares[4] = {0.25, 0.5, 0.75, 1.0 / 256};
    for (int i = 0; i < 4; i++) {
        double deviation = sqrt(shares[i] * (1 - shares[i]) / WORDS);
        assert_true(fabs(ups[i] / WORDS - shares[i]) <= 6 * deviation);
    }
}

static void stochastic_rounding_depends_on_word_and_element_alone(void **state)
{
    (void)state;
    float values[COUNT_MAX];
    uint16_t whole[COUNT_MAX], other[COUNT_MAX];
    for (int i = 0; i < COUNT_MAX; i++)
        values[i] = float_of(0x3f808000u);
    bf16_narrow_stochastic(values, whole, COUNT_MAX, 77);
    for (uint32_t count = 1; count <= COUNT_MAX; count++) {
        bf16_narrow_stochastic(values, other, count, 77);
        assert_memory_equal(whole, other, count * sizeof *whole);
    }
    bf16_narrow_stochastic(values, other, COUNT_MAX, 78);
    assert_memory_not_equal(whole, other, sizeof whole);
    bf16_narrow_stochastic(values, other, COUNT_MAX, 77 + (UINT64_C(1) << 32));
    assert_memory_not_equal(whole, other, sizeof whole);
    /* A bf16 is never moved. */
    for (int i = 0; i < COUNT_MAX; i++)
        values[i] = float_of((uint32_t)whole[i] << 16);
    bf16_narrow_stochastic(values, other, COUNT_MAX, 79);
    assert_memory_equal(whole, other, sizeof whole);
}

static void int8_is_off_by_half_a_step_at_most(void **state)
{
    (void)state;
    struct rng rng = rng_make(fixture_seed());
    float values[COUNT_MAX], back[COUNT_MAX];
    for (uint32_t count = 1; count <= COUNT_MAX; count++) {
        fill_random(&rng, values, count);
        float most = 0;
        for (uint32_t i = 0; i < count; i++)
            most = fmaxf(most, fabsf(values[i]));
        there_and_back(INT8, values, back, count);
        for (uint32_t i = 0; i < count; i++) {
            double off = fabs((double)back[i] - (double)values[i]);
            assert_true(off <= (double)most / 127 * 0.50001);
            /* The greatest is off by the rounding of its quotient alone. */
            if (fabsf(values[i]) == most) assert_true(off <= (double)most * 0x1p-22);
        }
    }
    const float halves[] = {127, 0.5f, 1.5f, -2.5f, -126.5f}; /* scale 1 */
    const float evens[] = {127, 0, 2, -2, -126};
    there_and_back(INT8, halves, back, 5);
    assert_memory_equal(back, evens, sizeof evens);
}

static void int8_stays_finite_at_both_ends_of_the_range(void **state)
{
    (void)state;
    float back[3];
    for (uint32_t down = 0; down < 2000; down++) {
        const float values[] = {float_of((down % 2 == 0 ? 0x7f7fffffu : 0xff7fffffu) - down), 1};
        uint8_t row[16];
        row_codec_encode(INT8, values, row, 2);
        assert_true(row_codec_finite(INT8, row, 2));
        row_codec_decode(INT8, row, back, 2);
        assert_true(fabs((double)back[0] / (double)values[0] - 1) < 1e-6);
    }
    for (uint32_t units = 0; units < 2000; units++) {
        const float small[] = {float_of(units), -float_of(units / 2), 0.0f};
        there_and_back(INT8, small, back, 3);
        for (int i = 0; i < 3; i++)
            assert_true(isfinite(back[i]) &&
                        fabs((double)back[i] - (double)small[i]) <= units * 0x1p-149);
    }
}

static void rows_that_decode_to_no_number_are_told(void **state)
{
    (void)state;
    const Anthill__Encoding encodings[] = {F32, BF16, INT8};
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    uint8_t row[1 + COUNT_MAX * sizeof(float)];
    float values[COUNT_MAX], back[COUNT_MAX];
    for (int e = 0; e < 3; e++) {
        for (uint32_t count = 1; count <= COUNT_MAX; count++) {
            for (uint32_t i = 0; i < count; i++)
                values[i] = i % 2 == 0 ? FLT_MAX : 0.0f;
            row_codec_encode(encodings[e], values, row + 1, count);
            assert_true(row_codec_finite(encodings[e], row + 1, count));
            uint32_t place = (count * 7919) % count;
            values[place] = bad[count % 4];
            row_codec_encode(encodings[e], values, row + 1, count);
            assert_false(row_codec_finite(encodings[e], row + 1, count));
            row_codec_decode(encodings[e], row + 1, back, count);
            assert_false(isfinite(back[place]));
        }
        assert_true(row_codec_finite(encodings[e], row + 1, 0));
    }
    /* As another program may send it: 128 times a scale that 127 times is finite. */
    const float scale = 0x1p121f * 1.005f;
    memcpy(row, &scale, sizeof scale);
    row[4] = 127;
    assert_true(row_codec_finite(INT8, row, 1));
    row[4] = 0x80;
    assert_false(row_codec_finite(INT8, row, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_have_the_size_that_the_form_states),
        cmocka_unit_test(f32_keeps_every_bit),
        cmocka_unit_test(bf16_is_the_nearest_and_ties_go_to_the_even_one),
        cmocka_unit_test(bf16_keeps_what_is_not_a_number_and_saturates_what_is),
        cmocka_unit_test(stochastic_rounding_is_right_in_the_mean),
        cmocka_unit_test(words_that_count_round_right_in_the_mean),
        cmocka_unit_test(stochastic_rounding_depends_on_word_and_element_alone),
        cmocka_unit_test(int8_is_off_by_half_a_step_at_most),
        cmocka_unit_test(int8_stays_finite_at_both_ends_of_the_range),
        cmocka_unit_test(rows_that_decode_to_no_number_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
