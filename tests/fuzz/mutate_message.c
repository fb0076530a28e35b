#include "tests/fuzz/mutate_message.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"

enum { ITEMS_MAX = 64, STRING_BYTES_MAX = 64 };

static uint64_t choose_number(struct rng *rng, uint64_t old)
{
    static const uint64_t likely[] = {0,
                                      1,
                                      2,
                                      3,
                                      7,
                                      8,
                                      63,
                                      64,
                                      65,
                                      128,
                                      255,
                                      256,
                                      1024,
                                      65535,
                                      65536,
                                      INT32_MAX,
                                      UINT32_MAX,
                                      UINT64_C(1) << 32,
                                      UINT64_C(1) << 63,
                                      UINT64_MAX - 1,
                                      UINT64_MAX};
    switch (rng_below(rng, 4)) {
    case 0:
        return likely[rng_below(rng, sizeof likely / sizeof *likely)];
    case 1:
        return old + rng_below(rng, 5) - 2;
    case 2:
        return rng_below(rng, 10);
    default:
        (void)LLVMFuzzerMutate((uint8_t *)&old, sizeof old, sizeof old);
        return old;
    }
}

static double choose_float(struct rng *rng, double old)
{
    static const double likely[] = {0,    1,     -1,    0.5,       0.9,        1e-8,
                                    1e30, -1e30, 1e300, 1.0 / 0.0, -1.0 / 0.0, 0.0 / 0.0};
    if (rng_below(rng, 4) != 0) return likely[rng_below(rng, sizeof likely / sizeof *likely)];
    (void)LLVMFuzzerMutate((uint8_t *)&old, sizeof old, sizeof old);
    return old;
}

/* ---- scalars, in the message or in an array ----------------------------------------------------
 */

static void change_string(char **string, const void *initial, struct rng *rng)
{
    static const char *const likely[] = {"",        "rows", "weights",        "w",       "b",
                                         "ipc://a", "loss", "valid/accuracy", "worker-1"};
    char changed[STRING_BYTES_MAX + 1] = "";
    size_t bytes = strnlen(*string, STRING_BYTES_MAX);
    memcpy(changed, *string, bytes);
    bytes = LLVMFuzzerMutate((uint8_t *)changed, bytes, STRING_BYTES_MAX);
    changed[bytes] = '\0';
    const char *chosen =
        rng_below(rng, 2) == 0 ? likely[rng_below(rng, sizeof likely / sizeof *likely)] : changed;
    if (*string != initial) free(*string);
    *string = strdup(chosen);
    CHECK(*string != NULL);
}

static void change_bytes(ProtobufCBinaryData *bytes)
{
    uint8_t *data = realloc(bytes->data, bytes->len + STRING_BYTES_MAX);
    CHECK(data != NULL);
    bytes->data = data;
    bytes->len = LLVMFuzzerMutate(data, bytes->len, bytes->len + STRING_BYTES_MAX);
}

static size_t scalar_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    default:
        return 4; /* enums, protobuf_c_boolean too */
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    }
}

static void change_scalar(const ProtobufCFieldDescriptor *field, void *value, struct rng *rng)
{
    uint64_t number = 0;
    double real = 0;
    float single;
    size_t bytes = scalar_bytes(field->type);
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        change_string(value, field->default_value, rng);
        return;
    case PROTOBUF_C_TYPE_BYTES:
        change_bytes(value);
        return;
    case PROTOBUF_C_TYPE_FLOAT:
        memcpy(&single, value, sizeof single);
        single = (float)choose_float(rng, (double)single);
        memcpy(value, &single, sizeof single);
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        memcpy(&real, value, sizeof real);
        real = choose_float(rng, real);
        memcpy(value, &real, sizeof real);
        return;
    case PROTOBUF_C_TYPE_BOOL:
        number = rng_below(rng, 2);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        number = rng_below(rng, 8);
        break;
    default:
        memcpy(&number, value, bytes);
        number = choose_number(rng, number);
    }
    memcpy(value, &number, bytes);
}

/* ---- messages ----------------------------------------------------------------------------------
 */

static ProtobufCMessage *new_message(const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = malloc(descriptor->sizeof_message);
    CHECK(message != NULL);
    protobuf_c_message_init(descriptor, message);
    return message;
}

static void change_message(ProtobufCMessage *message, struct rng *rng);

static void add_item(const ProtobufCFieldDescriptor *field, size_t *count, uint8_t **items,
                     struct rng *rng)
{
    size_t bytes = scalar_bytes(field->type);
    uint8_t *more = realloc(*items, (*count + 1) * bytes);
    CHECK(more != NULL);
    *items = more;
    uint8_t *item = more + *count * bytes;
    ++*count;
    memset(item, 0, bytes);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        *(ProtobufCMessage **)(void *)item = new_message(field->descriptor);
    } else if (field->type == PROTOBUF_C_TYPE_STRING) {
        *(char **)(void *)item = strdup("");
        CHECK(*(char **)(void *)item != NULL);
    } else {
        change_scalar(field, item, rng);
    }
}

static void change_items(const ProtobufCFieldDescriptor *field, size_t *count, uint8_t **items,
                         struct rng *rng)
{
    size_t bytes = scalar_bytes(field->type);
    if (*count == 0 || (*count < ITEMS_MAX && rng_below(rng, 4) == 0)) {
        add_item(field, count, items, rng);
        return;
    }
    uint8_t *item = *items + rng_below(rng, *count) * bytes;
    if (rng_below(rng, 8) == 0) { /* the last one takes its place */
        uint8_t *last = *items + --*count * bytes;
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            protobuf_c_message_free_unpacked(*(ProtobufCMessage **)(void *)item, NULL);
        if (field->type == PROTOBUF_C_TYPE_STRING) free(*(char **)(void *)item);
        if (item != last) memcpy(item, last, bytes);
    } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        change_message(*(ProtobufCMessage **)(void *)item, rng);
    } else {
        change_scalar(field, item, rng);
    }
}

static void change_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                         struct rng *rng)
{
    uint8_t *base = (uint8_t *)message;
    void *value = base + field->offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        change_items(field, (size_t *)(void *)(base + field->quantifier_offset), value, rng);
        return;
    }
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        change_scalar(field, value, rng);
        return;
    }
    ProtobufCMessage **inner = value;
    if (*inner == NULL) {
        *inner = new_message(field->descriptor);
    } else if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0 && rng_below(rng, 16) == 0) {
        protobuf_c_message_free_unpacked(*inner, NULL);
        *inner = NULL;
    } else {
        change_message(*inner, rng);
    }
}

/* Of the fields that exclude each other only the one that is there counts; it is chosen as often as
 * all others together. */
static void change_message(ProtobufCMessage *message, struct rng *rng)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    const ProtobufCFieldDescriptor *plain[64], *chosen = NULL;
    size_t count = 0;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        uint32_t active;
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0) {
            if (count < sizeof plain / sizeof *plain) plain[count++] = field;
            continue;
        }
        memcpy(&active, (uint8_t *)message + field->quantifier_offset, sizeof active);
        if (active == field->id) chosen = field;
    }
    if (count > 0 && (chosen == NULL || rng_below(rng, 4) == 0))
        chosen = plain[rng_below(rng, count)];
    if (chosen != NULL) change_field(message, chosen, rng);
}

size_t mutate_message(const ProtobufCMessageDescriptor *descriptor, uint8_t *data, size_t bytes,
                      size_t bytes_max, struct rng *rng)
{
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, NULL, bytes, data);
    if (message == NULL) return LLVMFuzzerMutate(data, bytes, bytes_max);
    for (uint64_t changes = 1 + rng_below(rng, 3); changes > 0; changes--)
        change_message(message, rng);
    size_t packed = protobuf_c_message_get_packed_size(message);
    bool fits = packed <= bytes_max;
    if (fits) protobuf_c_message_pack(message, data);
    protobuf_c_message_free_unpacked(message, NULL);
    return fits ? packed : LLVMFuzzerMutate(data, bytes, bytes_max);
}
