/* coordinator.state. Input: a byte, then the file, or with an odd byte what follows its header,
 * which is then made to fit. What unpacks is packed into bytes that unpack and pack into the same,
 * and goes on. */
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/checksum.h"
#include "ps/coordinator_state.h"
#include "tests/fuzz/fuzz_coordinator.h"

enum { HEADER_BYTES = 32 };

static void put_number(uint8_t *bytes, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

/* The header of a coordinator's state, with the length and checksum of this one. */
static uint8_t *with_header(struct fuzz_input state, size_t *bytes)
{
    static uint8_t *begin;
    if (begin == NULL) {
        const struct coordinator_options options = fuzz_coordinator_options();
        struct coordinator *coordinator = coordinator_create(&options, FUZZ_NOW_NS);
        coordinator_state_pack(coordinator, &begin, bytes);
        coordinator_destroy(coordinator);
    }
    uint8_t *file = malloc(HEADER_BYTES + state.bytes);
    CHECK(file != NULL);
    memcpy(file, begin, HEADER_BYTES);
    put_number(file + 16, state.bytes);
    put_number(file + 24, checksum_bytes(state.data, state.bytes));
    if (state.bytes > 0) memcpy(file + HEADER_BYTES, state.data, state.bytes);
    *bytes = HEADER_BYTES + state.bytes;
    return file;
}

static void go_on(struct coordinator *coordinator)
{
    struct outbox outbox = {0};
    struct effects effects = {0};
    for (uint64_t second = 0; second < 3; second++) {
        coordinator_tick(coordinator, FUZZ_NOW_NS + second * 40000000000u, &outbox, &effects);
        fuzz_coordinator_turn(coordinator, FUZZ_NOW_NS, &outbox, &effects);
    }
    outbox_deinit(&outbox);
    effects_deinit(&effects);
}

static void pack_again(const struct coordinator_options *options, struct coordinator *coordinator)
{
    uint8_t *first = NULL, *second = NULL;
    size_t first_bytes = 0, second_bytes = 0;
    struct coordinator *other = NULL;
    coordinator_state_pack(coordinator, &first, &first_bytes);
    CHECK(coordinator_state_unpack(&other, options, FUZZ_NOW_NS, first, first_bytes, NULL) ==
          STATUS_OK);
    coordinator_state_pack(other, &second, &second_bytes);
    CHECK(first_bytes == second_bytes && memcmp(first, second, first_bytes) == 0);
    coordinator_destroy(other);
    free(first);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    const struct coordinator_options options = fuzz_coordinator_options();
    struct coordinator *coordinator = NULL;
    struct error error = {.text = ""};
    uint8_t *file = NULL;
    if (fuzz_byte(&input) % 2 == 1) {
        file = with_header(input, &input.bytes);
        input.data = file;
    }
    enum status status = coordinator_state_unpack(&coordinator, &options, FUZZ_NOW_NS, input.data,
                                                  input.bytes, &error);
    CHECK(status == STATUS_OK || error.text[0] != '\0');
    if (status == STATUS_OK) {
        pack_again(&options, coordinator);
        go_on(coordinator);
    }
    coordinator_destroy(coordinator);
    free(file);
    return 0;
}
