/* Keys of a push find their slots, whatever pattern they have. */
#include "ps/push_batch.h"

#include "tests/unit/ps/ps_fixture.h"

enum { KEYS = 4096, SLOTS = 8192 };

/* Steps to a free slot, for all keys of this stride together. */
static uint32_t steps_of_stride(uint64_t stride)
{
    static bool taken[SLOTS];
    uint32_t steps = 0;
    memset(taken, 0, sizeof taken);
    for (uint64_t i = 0; i < KEYS; i++) {
        uint64_t slot = push_batch_hash(i * stride) >> 51;
        for (; taken[slot]; slot = (slot + 1) % SLOTS)
            steps++;
        taken[slot] = true;
    }
    return steps;
}

static void strided_keys_do_not_crowd(void **state)
{
    (void)state;
    for (uint64_t stride = 1; stride < 3000; stride++)
        assert_true(steps_of_stride(stride) < 2 * KEYS);
    for (unsigned bit = 0; bit < 52; bit++)
        assert_true(steps_of_stride(UINT64_C(1) << bit) < 2 * KEYS);
    /* Ratios of these come near to that of the hash's factor. */
    for (uint64_t stride = 1, next = 2; stride < UINT64_C(1) << 50;) {
        assert_true(steps_of_stride(stride) < 2 * KEYS);
        uint64_t sum = stride + next;
        stride = next;
        next = sum;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strided_keys_do_not_crowd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
