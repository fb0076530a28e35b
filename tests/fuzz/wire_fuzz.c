/* Headers of messages. What unpacks can be packed; the result unpacks, and packs into the same,
 * unless it has unknown fields of number 0, which protobuf-c takes in one form and not in the
 * other. */
#include <string.h>

#include "common/check.h"
#include "common/wire.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct error error = {.text = ""};
    struct message message = {.header = {(void *)data, bytes, NULL, NULL}};
    struct message second = {0}, third = {0};
    enum status status = wire_unpack(&message, &error);
    CHECK(status == STATUS_OK || (error.text[0] != '\0' && message.envelope == NULL));
    if (status == STATUS_OK) {
        (void)wire_error(message.envelope, &error);
        CHECK(wire_pack(&second, 0, message.envelope, NULL, 0) == STATUS_OK);
        if (wire_unpack(&second, NULL) != STATUS_OK) goto out;
        CHECK(wire_pack(&third, 0, second.envelope, NULL, 0) == STATUS_OK);
        CHECK(second.header.bytes == third.header.bytes &&
              memcmp(second.header.data, third.header.data, third.header.bytes) == 0);
    }
out:
    wire_message_deinit(&message);
    wire_message_deinit(&second);
    wire_message_deinit(&third);
    return 0;
}
