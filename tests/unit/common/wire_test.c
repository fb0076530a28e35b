/* Packing and unpacking: every body survives, and no bytes from outside crash or grow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/rng.h"
#include "common/wire.h"
#include "tests/support/process.h"

/* An envelope with an empty body of the given field, built by hand: tag, length 0. */
static size_t put_varint(uint8_t *out, uint64_t value)
{
    size_t bytes = 0;
    for (; value >= 128; value >>= 7) {
        out[bytes++] = (uint8_t)(value | 128);
    }
    out[bytes++] = (uint8_t)value;
    return bytes;
}

static struct message message_of_bytes(const void *data, size_t bytes)
{
    struct message message = {.header = frame_create(bytes)};
    assert_non_null(message.header.data);
    memcpy(message.header.data, data, bytes);
    return message;
}

static void each_body_survives_a_round_trip(void **state)
{
    (void)state;
    unsigned bodies = 0;
    for (unsigned i = 0; i < anthill__envelope__descriptor.n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &anthill__envelope__descriptor.fields[i];
        if (field->type != PROTOBUF_C_TYPE_MESSAGE) continue;
        uint8_t bytes[16];
        size_t used = 0;
        bytes[used++] = 1 << 3;
        bytes[used++] = WIRE_VERSION;
        bytes[used++] = 2 << 3;
        bytes[used++] = 77;
        used += put_varint(bytes + used, (uint64_t)field->id << 3 | 2);
        bytes[used++] = 0;
        struct message in = message_of_bytes(bytes, used);
        assert_int_equal(wire_unpack(&in, NULL), STATUS_OK);
        struct message out;
        assert_int_equal(wire_pack(&out, 5, in.envelope, NULL, 0), STATUS_OK);
        assert_int_equal(out.peer, 5);
        assert_int_equal(wire_unpack(&out, NULL), STATUS_OK);
        assert_int_equal(out.envelope->body_case, field->id);
        assert_int_equal(out.envelope->request, 77);
        wire_message_deinit(&in);
        wire_message_deinit(&out);
        bodies++;
    }
    assert_true(bodies >= 20);
}

/* A hello with strings, repeated messages and numbers of every kind. */
static struct message hello_message(void)
{
    Anthill__TensorSpec tensor = ANTHILL__TENSOR_SPEC__INIT;
    tensor.name = "layer0.weight";
    tensor.rows = 1433;
    tensor.cols = 64;
    tensor.init_scale = 0.25f;
    Anthill__TensorSpec *tensors[2] = {&tensor, &tensor};
    Anthill__OptimizerSpec optimizer = ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer.rate = 0.01f;
    Anthill__TableSpec table = ANTHILL__TABLE_SPEC__INIT;
    table.name = "model";
    table.kind = ANTHILL__TABLE_KIND__TABLE_DENSE;
    table.seed = UINT64_MAX;
    table.optimizer = &optimizer;
    table.n_tensors = 2;
    table.tensors = tensors;
    Anthill__TableSpec *tables[1] = {&table};
    Anthill__Hello hello = ANTHILL__HELLO__INIT;
    hello.n_tables = 1;
    hello.tables = tables;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = UINT64_C(1) << 60;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    struct frame payload[2] = {frame_create(24), frame_create(96)};
    struct message message;
    assert_int_equal(wire_pack(&message, 0, &envelope, payload, 2), STATUS_OK);
    assert_null(payload[0].data);
    return message;
}

static void fields_and_payload_survive(void **state)
{
    (void)state;
    struct message message = hello_message();
    assert_int_equal(wire_unpack(&message, NULL), STATUS_OK);
    assert_int_equal(wire_unpack(&message, NULL), STATUS_OK); /* again: no leak, same content */
    const Anthill__TableSpec *table = message.envelope->hello->tables[0];
    assert_string_equal(table->name, "model");
    assert_true(table->seed == UINT64_MAX);
    assert_int_equal(table->n_tensors, 2);
    assert_string_equal(table->tensors[1]->name, "layer0.weight");
    assert_true(table->tensors[1]->init_scale == 0.25f);
    assert_true(message.envelope->request == UINT64_C(1) << 60);
    assert_int_equal(message.payload_count, 2);
    assert_int_equal(message.payload[1].bytes, 96);
    assert_int_equal((uintptr_t)message.payload[1].data % 64, 0);
    wire_message_deinit(&message);
    wire_message_deinit(&message); /* empty: nothing happens */
}

static void truncated_headers_are_refused_or_shorter(void **state)
{
    (void)state;
    struct message whole = hello_message();
    for (size_t bytes = 0; bytes < whole.header.bytes; bytes++) {
        struct message cut = message_of_bytes(whole.header.data, bytes);
        struct error error;
        if (wire_unpack(&cut, &error) != STATUS_OK) {
            assert_int_equal(error.status, STATUS_CORRUPT);
            assert_null(cut.envelope);
        }
        wire_message_deinit(&cut);
    }
    wire_message_deinit(&whole);
}

static void flipped_bits_and_noise_never_crash(void **state)
{
    (void)state;
    struct message whole = hello_message();
    for (size_t bit = 0; bit < whole.header.bytes * 8; bit++) {
        struct message flipped = message_of_bytes(whole.header.data, whole.header.bytes);
        ((uint8_t *)flipped.header.data)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        (void)!wire_unpack(&flipped, NULL);
        wire_message_deinit(&flipped);
    }
    struct rng rng = rng_make(7);
    for (unsigned i = 0; i < 20000; i++) {
        struct message noisy = message_of_bytes(whole.header.data, whole.header.bytes);
        for (unsigned j = 0; j < 4; j++) {
            size_t at = rng_below(&rng, whole.header.bytes);
            ((uint8_t *)noisy.header.data)[at] = (uint8_t)rng_u64(&rng);
        }
        (void)!wire_unpack(&noisy, NULL);
        wire_message_deinit(&noisy);
    }
    wire_message_deinit(&whole);
}

static void empty_submessages_do_not_grow_in_memory(void **state)
{
    (void)state;
    size_t count = 100000;
    size_t body = count * 2;
    uint8_t *bytes = malloc(body + 16);
    size_t used = 0;
    bytes[used++] = 1 << 3;
    bytes[used++] = WIRE_VERSION;
    used += put_varint(bytes + used, 20 << 3 | 2); /* Hello */
    used += put_varint(bytes + used, body);
    for (size_t i = 0; i < count; i++) {
        bytes[used++] = 1 << 3 | 2; /* an empty TableSpec */
        bytes[used++] = 0;
    }
    struct message message = message_of_bytes(bytes, used);
    struct error error;
    assert_int_equal(wire_unpack(&message, &error), STATUS_CORRUPT);
    wire_message_deinit(&message);
    free(bytes);
}

/* ---- what a hostile header can cost ---- */

static size_t allocated; /* bytes asked of malloc by unpacking, since it was set to 0 */

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    allocated += bytes < 16 ? 16 : bytes;
    return __real_malloc(bytes);
}

enum { TYPES_MAX = 256 };

/* Message types that lead from a root to the one being looked at, and all seen. */
struct type_walk {
    const ProtobufCMessageDescriptor *path[TYPES_MAX], *seen[TYPES_MAX];
    unsigned depth, seen_count, depth_max;
};

static bool listed(const ProtobufCMessageDescriptor *const *types, unsigned count,
                   const ProtobufCMessageDescriptor *type)
{
    for (unsigned i = 0; i < count; i++) {
        if (types[i] == type) return true;
    }
    return false;
}

static void walk_type(struct type_walk *walk, const ProtobufCMessageDescriptor *type)
{
    if (listed(walk->path, walk->depth, type)) fail_msg("%s contains itself", type->name);
    if (!listed(walk->seen, walk->seen_count, type)) walk->seen[walk->seen_count++] = type;
    assert_true(walk->depth < TYPES_MAX && walk->seen_count < TYPES_MAX);
    walk->path[walk->depth++] = type;
    if (walk->depth > walk->depth_max) walk->depth_max = walk->depth;
    for (unsigned i = 0; i < type->n_fields; i++) {
        if (type->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
            walk_type(walk, type->fields[i].descriptor);
    }
    walk->depth--;
}

static unsigned messages_declared(void)
{
    char path[FILE_PATH_BYTES], *text;
    size_t bytes;
    unsigned count = 0;
    assert_int_equal(file_path(path, NULL, "%s/common/wire.proto", source_dir()), STATUS_OK);
    assert_int_equal(file_read_all(path, 1u << 20, &text, &bytes, NULL), STATUS_OK);
    for (const char *at = text; (at = strstr(at, "\nmessage ")) != NULL; at++)
        count++;
    free(text);
    return count;
}

static void no_message_type_contains_itself(void **state)
{
    (void)state;
    struct type_walk walk = {.depth = 0};
    walk_type(&walk, &anthill__envelope__descriptor);
    walk_type(&walk, &anthill__coordinator_state__descriptor);
    assert_int_equal(walk.seen_count, messages_declared()); /* none was left out */
    assert_true(walk.depth_max >= 3 && walk.depth_max <= 8);
}

/* Puts `count` times the two bytes of an empty submessage into `field` of an otherwise empty body,
 * and says how many bytes that has cost. */
static size_t cost_of_empties(const ProtobufCFieldDescriptor *body,
                              const ProtobufCFieldDescriptor *field, size_t count)
{
    uint8_t *bytes = malloc(4 * count + 32), tag[8];
    size_t used = 0, tag_bytes = put_varint(tag, (uint64_t)field->id << 3 | 2);
    tag[tag_bytes++] = 0;
    bytes[used++] = 1 << 3;
    bytes[used++] = WIRE_VERSION;
    used += put_varint(bytes + used, (uint64_t)body->id << 3 | 2);
    used += put_varint(bytes + used, count * tag_bytes);
    for (size_t i = 0; i < count; i++, used += tag_bytes)
        memcpy(bytes + used, tag, tag_bytes);
    struct message message = message_of_bytes(bytes, used);
    struct error error = {0};
    allocated = 0;
    enum status status = wire_unpack(&message, &error);
    size_t cost = allocated;
    assert_true(cost <= 4096 + 32 * used + 32);
    if (status != STATUS_OK) assert_int_equal(status, STATUS_CORRUPT);
    wire_message_deinit(&message);
    free(bytes);
    return cost;
}

static void empty_items_of_any_field_cost_at_most_the_budget(void **state)
{
    (void)state;
    const ProtobufCMessageDescriptor *envelope = &anthill__envelope__descriptor;
    unsigned tried = 0;
    for (unsigned i = 0; i < envelope->n_fields; i++) {
        const ProtobufCFieldDescriptor *body = &envelope->fields[i];
        if (body->type != PROTOBUF_C_TYPE_MESSAGE) continue;
        const ProtobufCMessageDescriptor *type = body->descriptor;
        for (unsigned j = 0; j < type->n_fields; j++) {
            const ProtobufCFieldDescriptor *field = &type->fields[j];
            bool has_length = field->type == PROTOBUF_C_TYPE_MESSAGE ||
                              field->type == PROTOBUF_C_TYPE_STRING ||
                              field->type == PROTOBUF_C_TYPE_BYTES;
            if (field->label != PROTOBUF_C_LABEL_REPEATED || !has_length) continue;
            (void)cost_of_empties(body, field, 100000);
            tried++;
        }
    }
    assert_true(tried >= 5);
}

/* Two bytes of a field that no message has cost a ProtobufCMessageUnknownField and its bytes. */
static void unknown_fields_cost_at_most_the_budget(void **state)
{
    (void)state;
    const ProtobufCFieldDescriptor *hello =
        protobuf_c_message_descriptor_get_field_by_name(&anthill__envelope__descriptor, "hello");
    for (int type = 0; type < 2; type++) {
        ProtobufCFieldDescriptor unknown = {.id = type == 0 ? 15 : 2000};
        assert_true(cost_of_empties(hello, &unknown, 100000) > 4096);
    }
}

/* 34 KB of nesting. protobuf-c knows no groups, and unknown fields are bytes to it: neither takes
 * stack. */
static void deep_nesting_takes_no_depth(void **state)
{
    (void)state;
    enum { DEEP = 34 * 1024 };
    uint8_t *bytes = malloc(DEEP + 64);
    struct error error;
    static const uint8_t begin[] = {1 << 3, WIRE_VERSION};
    /* Groups of field 15, never closed. */
    memcpy(bytes, begin, sizeof begin);
    memset(bytes + sizeof begin, 15 << 3 | 3, DEEP);
    struct message message = message_of_bytes(bytes, sizeof begin + DEEP);
    assert_int_equal(wire_unpack(&message, &error), STATUS_CORRUPT);
    wire_message_deinit(&message);

    /* Submessages in each other, of a field that is Hello at the top and unknown within. From the
     * innermost on, each has a tag of two bytes and a length of one to three. */
    uint8_t *end = bytes + DEEP + 64, *at = end;
    unsigned levels = 0;
    while (end - at < DEEP) {
        uint8_t head[8];
        size_t used = put_varint(head, 20 << 3 | 2);
        used += put_varint(head + used, (uint64_t)(end - at));
        at -= used;
        memcpy(at, head, used);
        levels++;
    }
    assert_true(levels > 6000);
    at -= sizeof begin;
    memcpy(at, begin, sizeof begin);
    message = message_of_bytes(at, (size_t)(end - at));
    allocated = 0;
    assert_int_equal(wire_unpack(&message, &error), STATUS_OK);
    assert_true(allocated < 3 * DEEP);
    wire_message_deinit(&message);
    free(bytes);
}

static void a_large_slot_map_fits_the_budget(void **state)
{
    (void)state;
    uint32_t owners[65536] = {0};
    Anthill__SlotMap map = ANTHILL__SLOT_MAP__INIT;
    map.n_owners = 65536;
    map.owners = owners;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SLOT_MAP;
    envelope.slot_map = &map;
    struct message message;
    assert_int_equal(wire_pack(&message, 0, &envelope, NULL, 0), STATUS_OK);
    assert_int_equal(wire_unpack(&message, NULL), STATUS_OK);
    assert_int_equal(message.envelope->slot_map->n_owners, 65536);
    wire_message_deinit(&message);
}

static void many_small_metrics_fit_the_budget(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    Anthill__Metric metric = ANTHILL__METRIC__INIT;
    metric.name = "f1";
    metric.value = 0.5;
    static Anthill__Metric *metrics[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        metrics[i] = &metric;
    }
    Anthill__LeaseDone done = ANTHILL__LEASE_DONE__INIT;
    done.n_metrics = COUNT;
    done.metrics = metrics;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_DONE;
    envelope.lease_done = &done;
    struct message message;
    assert_int_equal(wire_pack(&message, 0, &envelope, NULL, 0), STATUS_OK);
    assert_int_equal(wire_unpack(&message, NULL), STATUS_OK);
    wire_message_deinit(&message);
}

static void too_large_headers_are_refused_both_ways(void **state)
{
    (void)state;
    struct message message = {.header = frame_create(WIRE_HEADER_BYTES_MAX + 1)};
    memset(message.header.data, 0, message.header.bytes);
    struct error error;
    assert_int_equal(wire_unpack(&message, &error), STATUS_CORRUPT);
    assert_non_null(strstr(error.text, "at most"));
    wire_message_deinit(&message);

    char *text = malloc(WIRE_HEADER_BYTES_MAX + 1);
    memset(text, 'x', WIRE_HEADER_BYTES_MAX);
    text[WIRE_HEADER_BYTES_MAX] = '\0';
    Anthill__StatusReply reply = ANTHILL__STATUS_REPLY__INIT;
    reply.json = text;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_STATUS_REPLY;
    envelope.status_reply = &reply;
    struct frame payload = frame_create(8);
    assert_int_equal(wire_pack(&message, 0, &envelope, &payload, 1), STATUS_INVALID);
    assert_null(payload.data);
    free(text);
}

static void another_version_and_a_missing_body_are_refused(void **state)
{
    (void)state;
    const uint8_t other[] = {1 << 3, WIRE_VERSION + 1, 0xa2, 0x01, 0};
    struct message message = message_of_bytes(other, sizeof other);
    struct error error;
    assert_int_equal(wire_unpack(&message, &error), STATUS_CORRUPT);
    assert_non_null(strstr(error.text, "version 2"));
    wire_message_deinit(&message);

    const uint8_t bare[] = {1 << 3, WIRE_VERSION};
    message = message_of_bytes(bare, sizeof bare);
    assert_int_equal(wire_unpack(&message, &error), STATUS_CORRUPT);
    wire_message_deinit(&message);
}

static void an_error_crosses_the_wire(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    struct error error = {.status = STATUS_BUSY, .text = "the queue of shard 3 is full"};
    outbox_put_error(&outbox, 9, 42, &error);
    assert_int_equal(outbox.count, 1);
    struct message *message = &outbox.messages[0];
    assert_int_equal(message->peer, 9);
    assert_int_equal(wire_unpack(message, NULL), STATUS_OK);
    assert_int_equal(message->envelope->request, 42);
    struct error received = {0};
    assert_int_equal(wire_error(message->envelope, &received), STATUS_BUSY);
    assert_string_equal(received.text, error.text);

    message->envelope->error->status = 200; /* a code that no version of ours sends */
    assert_int_equal(wire_error(message->envelope, &received), STATUS_CORRUPT);
    message->envelope->error->status = STATUS_OK;
    assert_int_equal(wire_error(message->envelope, &received), STATUS_CORRUPT);
    outbox_clear(&outbox);
    assert_int_equal(outbox.count, 0);
    for (unsigned i = 0; i < 100; i++) {
        outbox_put_error(&outbox, i, i, &error);
    }
    assert_int_equal(outbox.count, 100);
    outbox_deinit(&outbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_body_survives_a_round_trip),
        cmocka_unit_test(fields_and_payload_survive),
        cmocka_unit_test(truncated_headers_are_refused_or_shorter),
        cmocka_unit_test(flipped_bits_and_noise_never_crash),
        cmocka_unit_test(empty_submessages_do_not_grow_in_memory),
        cmocka_unit_test(no_message_type_contains_itself),
        cmocka_unit_test(empty_items_of_any_field_cost_at_most_the_budget),
        cmocka_unit_test(unknown_fields_cost_at_most_the_budget),
        cmocka_unit_test(deep_nesting_takes_no_depth),
        cmocka_unit_test(a_large_slot_map_fits_the_budget),
        cmocka_unit_test(many_small_metrics_fit_the_budget),
        cmocka_unit_test(too_large_headers_are_refused_both_ways),
        cmocka_unit_test(another_version_and_a_missing_body_are_refused),
        cmocka_unit_test(an_error_crosses_the_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
