/* What is asked of rows beside f32 pulls and pushes: encodings, versions, Assign, Delete, Scan,
 * Describe, and what becomes of rows that nobody uses. */
#include <math.h>

#include "tests/unit/ps/ps_fixture.h"

#include "ps/row_codec.h"
#include "ps/table_spec.h"

enum { DIM = 4, KEYS = 3, SESSION = 4 };

static const uint64_t some_keys[KEYS] = {7, 8, 9};

/* Opens the session with the sparse table "rows", spec as changed by the caller. */
static void open_rows(struct shard_fixture *fixture, struct spec_fixture *spec)
{
    shard_fixture_init(fixture);
    fixture_hello_one(fixture, SESSION, spec);
    assert_int_equal(fixture_reply(fixture, 0)->body_case, ANTHILL__ENVELOPE__BODY_HELLO_REPLY);
}

/* Sends `envelope`, filled in but for what all have in common, with up to two payload frames. */
static void send_frames(struct shard_fixture *fixture, Anthill__Envelope *envelope,
                        const void *first, size_t first_bytes, const void *second,
                        size_t second_bytes)
{
    envelope->session = SESSION;
    fixture_send(fixture, envelope, first, first_bytes, second, second_bytes);
}

static void pull_as(struct shard_fixture *fixture, Anthill__Encoding encoding, uint64_t clock)
{
    Anthill__Pull pull = ANTHILL__PULL__INIT;
    pull.key_count = KEYS;
    pull.encoding = encoding;
    pull.clock = clock;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = 30 + clock;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    send_frames(fixture, &envelope, some_keys, sizeof some_keys, NULL, 0);
}

static void push_as(struct shard_fixture *fixture, uint64_t sequence, Anthill__Encoding encoding,
                    const void *grads, size_t bytes)
{
    Anthill__Push push = ANTHILL__PUSH__INIT;
    push.key_count = KEYS;
    push.encoding = encoding;
    push.rate_scale = 1;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.sequence = sequence;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PUSH;
    envelope.push = &push;
    send_frames(fixture, &envelope, some_keys, sizeof some_keys, grads, bytes);
}

/* Decodes the rows of reply `place` and compares them with those of expected[KEYS, DIM]. */
static void check_rows(struct shard_fixture *fixture, unsigned place, Anthill__Encoding encoding,
                       const float *expected)
{
    const Anthill__Envelope *reply = fixture_reply(fixture, place);
    if (reply->body_case == ANTHILL__ENVELOPE__BODY_ERROR) fail_msg("%s", reply->error->text);
    const struct frame *frame = &fixture->outbox.messages[place].payload[0];
    size_t row_bytes = row_codec_bytes(encoding, DIM);
    assert_int_equal(frame->bytes, KEYS * row_bytes);
    for (unsigned i = 0; i < KEYS; i++) {
        float row[DIM];
        row_codec_decode(encoding, (const char *)frame->data + i * row_bytes, row, DIM);
        for (unsigned j = 0; j < DIM; j++)
            assert_true(row[j] == expected[i * DIM + j]);
    }
}

/* 127 is the greatest, so that integers are exact in int8, too. */
static void fill_grads(float grads[KEYS * DIM])
{
    for (int i = 0; i < KEYS * DIM; i++)
        grads[i] = i % DIM == 0 ? 127.0f : (float)(i - 6);
}

static void encode_grads(const float grads[KEYS * DIM], Anthill__Encoding encoding, char *encoded)
{
    for (unsigned i = 0; i < KEYS; i++)
        row_codec_encode(encoding, grads + i * DIM, encoded + i * row_codec_bytes(encoding, DIM),
                         DIM);
}

static void rows_and_gradients_travel_in_the_encoding_asked_for(void **state)
{
    (void)state;
    const Anthill__ConsistencyMode modes[] = {ASYNC, BSP};
    for (unsigned m = 0; m < 2; m++) {
        struct shard_fixture fixture;
        struct spec_fixture spec;
        fixture_sparse(&spec, "rows", DIM, SGD);
        spec.spec.consistency = modes[m];
        open_rows(&fixture, &spec);
        fixture_advance(&fixture, SESSION, 1, 0, false);
        float grads[KEYS * DIM], expected[KEYS * DIM] = {0};
        char encoded[KEYS * DIM * sizeof(float)];
        fill_grads(grads);
        for (uint64_t encoding = 0; encoding < 3; encoding++) {
            encode_grads(grads, (Anthill__Encoding)encoding, encoded);
            push_as(&fixture, 2 + 2 * encoding, (Anthill__Encoding)encoding, encoded,
                    KEYS * row_codec_bytes((Anthill__Encoding)encoding, DIM));
            assert_int_equal(fixture_reply(&fixture, 0)->body_case,
                             ANTHILL__ENVELOPE__BODY_PUSH_REPLY);
            for (unsigned i = 0; i < KEYS * DIM; i++)
                expected[i] -= grads[i];
        }
        /* In bsp the pull waits for the sums. */
        pull_as(&fixture, ANTHILL__ENCODING__ENCODING_F32, 1);
        unsigned place = 0;
        if (modes[m] == BSP) {
            assert_int_equal(fixture.outbox.count, 0);
            fixture_advance(&fixture, SESSION, 20, 1, false);
            place = 1;
        }
        check_rows(&fixture, place, ANTHILL__ENCODING__ENCODING_F32, expected);
        shard_fixture_deinit(&fixture);
    }
}

static void a_pull_that_waits_remembers_its_encoding(void **state)
{
    (void)state;
    struct shard_fixture fixture;
    struct spec_fixture spec;
    fixture_sparse(&spec, "rows", DIM, SGD);
    spec.spec.consistency = BSP;
    open_rows(&fixture, &spec);
    fixture_advance(&fixture, SESSION, 1, 0, false);
    float grads[KEYS * DIM], expected[KEYS * DIM];
    fill_grads(grads);
    for (unsigned i = 0; i < KEYS * DIM; i++)
        expected[i] = -grads[i];
    push_as(&fixture, 2, ANTHILL__ENCODING__ENCODING_F32, grads, sizeof grads);
    pull_as(&fixture, ANTHILL__ENCODING__ENCODING_INT8, 1);
    assert_int_equal(fixture.outbox.count, 0);
    fixture_advance(&fixture, SESSION, 3, 1, false);
    check_rows(&fixture, 1, ANTHILL__ENCODING__ENCODING_INT8, expected);
    pull_as(&fixture, ANTHILL__ENCODING__ENCODING_BF16, 1);
    check_rows(&fixture, 0, ANTHILL__ENCODING__ENCODING_BF16, expected);
    shard_fixture_deinit(&fixture);
}

static void encodings_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct shard_fixture fixture;
    struct spec_fixture spec, dense;
    fixture_sparse(&spec, "rows", DIM, SGD);
    open_rows(&fixture, &spec);
    float grads[KEYS * DIM] = {0};
    pull_as(&fixture, (Anthill__Encoding)3, 0);
    fixture_refused(&fixture, STATUS_INVALID, "Pull of \"rows\": rows in encoding 3");
    push_as(&fixture, 1, (Anthill__Encoding)99, grads, sizeof grads);
    fixture_refused(&fixture, STATUS_INVALID, "Push of \"rows\": rows in encoding 99");
    push_as(&fixture, 1, ANTHILL__ENCODING__ENCODING_BF16, grads, sizeof grads);
    fixture_refused(&fixture, STATUS_INVALID, "48 bytes of gradients; 24 expected");
    const char scale[4] = {0, 0, (char)0xc0, 0x7f}; /* NaN */
    char encoded[KEYS * (4 + DIM)] = {0};
    memcpy(encoded, scale, sizeof scale);
    memset(encoded + 4, 1, DIM);
    push_as(&fixture, 1, ANTHILL__ENCODING__ENCODING_INT8, encoded, sizeof encoded);
    fixture_refused(&fixture, STATUS_INVALID, "NaN or infinite");
    fixture_dense(&dense, "weights", SGD);
    fixture_tensor(&dense, "w", 3, 2, ANTHILL__INIT_KIND__INIT_ONE, 0);
    fixture_hello_one(&fixture, SESSION, &dense);
    Anthill__Pull pull = ANTHILL__PULL__INIT;
    pull.table = 1;
    pull.key_count = 1;
    pull.encoding = ANTHILL__ENCODING__ENCODING_BF16;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    send_frames(&fixture, &envelope, some_keys, 8, NULL, 0);
    fixture_refused(&fixture, STATUS_INVALID, "rows of a dense table are f32");
    shard_fixture_deinit(&fixture);
}

/* ---- versions ------------------------------------------------------------------------------- */

static void pull_newer(struct shard_fixture *fixture, const uint32_t held[KEYS], uint32_t behind)
{
    Anthill__Pull pull = ANTHILL__PULL__INIT;
    pull.key_count = KEYS;
    pull.conditional = true;
    pull.behind = behind;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    send_frames(fixture, &envelope, some_keys, sizeof some_keys, held, KEYS * sizeof *held);
}

static void a_conditional_pull_sends_the_rows_that_are_newer(void **state)
{
    (void)state;
    struct shard_fixture fixture;
    struct spec_fixture spec;
    fixture_sparse(&spec, "rows", DIM, SGD);
    spec.spec.versioned = true;
    open_rows(&fixture, &spec);
    uint32_t versions[KEYS] = {0};
    pull_newer(&fixture, versions, 0);
    assert_int_equal(fixture_reply(&fixture, 0)->body_case, ANTHILL__ENVELOPE__BODY_PULL_REPLY);
    const struct message *message = &fixture.outbox.messages[0];
    assert_int_equal(message->payload_count, 2);
    assert_int_equal(message->payload[0].bytes, KEYS * DIM * sizeof(float));
    assert_int_equal(message->payload[1].bytes, sizeof versions);
    memcpy(versions, message->payload[1].data, sizeof versions);
    float grad[DIM] = {1, 2, 3, 4};
    fixture_push(&fixture, SESSION, 1, 0, 0, &some_keys[1], 1, grad, DIM);
    pull_newer(&fixture, versions, 0);
    assert_int_equal(fixture_reply(&fixture, 0)->body_case, ANTHILL__ENVELOPE__BODY_PULL_REPLY);
    message = &fixture.outbox.messages[0];
    assert_int_equal(message->payload[0].bytes, DIM * sizeof(float));
    assert_true(((const float_unaligned *)message->payload[0].data)[3] == -4.0f);
    uint32_t newer[KEYS];
    memcpy(newer, message->payload[1].data, sizeof newer);
    assert_int_equal(newer[0], 0);
    assert_true(newer[1] > versions[1]);
    assert_int_equal(newer[2], 0);
    pull_newer(&fixture, newer, 0);
    const uint32_t short_list[1] = {0};
    Anthill__Pull pull = ANTHILL__PULL__INIT;
    pull.key_count = KEYS;
    pull.conditional = true;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    send_frames(&fixture, &envelope, some_keys, sizeof some_keys, short_list, sizeof short_list);
    fixture_refused(&fixture, STATUS_INVALID, "4 bytes of versions; 12 expected");
    pull.block = 1;
    send_frames(&fixture, &envelope, NULL, 0, NULL, 0);
    fixture_refused(&fixture, STATUS_INVALID, "conditional, and block 1");
    shard_fixture_deinit(&fixture);
}

/* ---- Assign, Delete, Scan ------------------------------------------------------------------- */

static void assign(struct shard_fixture *fixture, uint64_t sequence, uint32_t table,
                   const void *values, size_t bytes)
{
    Anthill__Assign body = ANTHILL__ASSIGN__INIT;
    body.table = table;
    body.key_count = KEYS;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.sequence = sequence;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_ASSIGN;
    envelope.assign = &body;
    send_frames(fixture, &envelope, some_keys, sizeof some_keys, values, bytes);
}

static void delete_rows(struct shard_fixture *fixture, uint64_t sequence, uint32_t table,
                        uint32_t key_count)
{
    Anthill__Delete body = ANTHILL__DELETE__INIT;
    body.table = table;
    body.key_count = key_count;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.sequence = sequence;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_DELETE;
    envelope.delete_ = &body;
    send_frames(fixture, &envelope, some_keys, key_count * sizeof *some_keys, NULL, 0);
}

static void scan(struct shard_fixture *fixture, uint32_t table, uint64_t cursor, uint32_t keys_max)
{
    Anthill__Scan body = ANTHILL__SCAN__INIT;
    body.table = table;
    body.cursor = cursor;
    body.keys_max = keys_max;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SCAN;
    envelope.scan = &body;
    send_frames(fixture, &envelope, NULL, 0, NULL, 0);
}

static void rows_are_assigned_and_deleted_once(void **state)
{
    (void)state;
    struct shard_fixture fixture;
    struct spec_fixture spec;
    fixture_sparse(&spec, "rows", DIM, ADAGRAD);
    open_rows(&fixture, &spec);
    float values[KEYS * DIM];
    fill_grads(values);
    for (int again = 0; again < 2; again++) {
        assign(&fixture, 1, 0, values, sizeof values);
        assert_int_equal(fixture_reply(&fixture, 0)->body_case,
                         ANTHILL__ENVELOPE__BODY_ASSIGN_REPLY);
        if (again == 0) {
            pull_as(&fixture, 0, 0);
            check_rows(&fixture, 0, 0, values);
            float grad[DIM] = {1, 0, 0, 0};
            fixture_push(&fixture, SESSION, 2, 0, 0, some_keys, 1, grad, DIM);
        }
    }
    assert_true(fixture_row(&fixture, SESSION, 0, some_keys[0]) < values[0]); /* not set back */
    delete_rows(&fixture, 3, 0, 2);
    assert_int_equal(fixture_reply(&fixture, 0)->delete_reply->deleted, 2);
    assert_true(fixture_row(&fixture, SESSION, 0, some_keys[0]) == 0.0f);
    delete_rows(&fixture, 3, 0, 2);
    assert_int_equal(fixture_reply(&fixture, 0)->delete_reply->deleted, 0);
    delete_rows(&fixture, 4, 0, 2);
    assert_int_equal(fixture_reply(&fixture, 0)->delete_reply->deleted, 1); /* the one pulled */
    struct shard_stats stats;
    shard_stats(fixture.shard, &stats);
    assert_int_equal(stats.rows, 1);
    shard_fixture_deinit(&fixture);
}

static void a_scan_lists_every_key_once(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct shard_fixture fixture;
    struct spec_fixture spec;
    fixture_sparse(&spec, "rows", 1, SGD);
    open_rows(&fixture, &spec);
    uint64_t keys[COUNT];
    unsigned char seen[COUNT] = {0};
    for (uint64_t i = 0; i < COUNT; i++)
        keys[i] = i;
    fixture_pull(&fixture, SESSION, 1, 0, 0, keys, COUNT);
    uint64_t cursor = 0;
    unsigned steps = 0;
    do {
        scan(&fixture, 0, cursor, 64);
        const Anthill__Envelope *reply = fixture_reply(&fixture, 0);
        assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_SCAN_REPLY);
        const struct frame *frame = &fixture.outbox.messages[0].payload[0];
        assert_true(frame->bytes % sizeof *keys == 0 && frame->bytes <= sizeof *keys * 64);
        for (size_t i = 0; i < frame->bytes / sizeof *keys; i++) {
            uint64_t key;
            memcpy(&key, (const char *)frame->data + i * sizeof key, sizeof key);
            assert_true(key < COUNT);
            seen[key]++;
        }
        cursor = reply->scan_reply->cursor;
        assert_true(++steps < COUNT);
    } while (cursor != 0);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(seen[i], 1);
    shard_fixture_deinit(&fixture);
}

static void describe(struct shard_fixture *fixture, char *name)
{
    Anthill__Describe body = ANTHILL__DESCRIBE__INIT;
    body.name = name;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_DESCRIBE;
    envelope.describe = &body;
    send_frames(fixture, &envelope, NULL, 0, NULL, 0);
    if (fixture_reply(fixture, 0)->body_case == ANTHILL__ENVELOPE__BODY_ERROR)
        fail_msg("%s", fixture_reply(fixture, 0)->error->text);
}

static void a_table_is_described_by_its_name(void **state)
{
    (void)state;
    struct shard_fixture fixture;
    struct spec_fixture spec, dense;
    fixture_sparse(&spec, "rows", DIM, ADAGRAD);
    open_rows(&fixture, &spec);
    fixture_dense(&dense, "weights", SGD);
    fixture_tensor(&dense, "w", 3, 2, ANTHILL__INIT_KIND__INIT_ONE, 0);
    fixture_hello_one(&fixture, SESSION, &dense);
    fixture_pull(&fixture, SESSION, 1, 0, 0, some_keys, KEYS);
    describe(&fixture, "rows");
    const Anthill__DescribeReply *reply = fixture_reply(&fixture, 0)->describe_reply;
    assert_int_equal(reply->rows, KEYS);
    assert_int_equal(reply->n_names, 0);
    assert_int_equal(table_spec_compare(reply->spec, &spec.spec, NULL), STATUS_OK);
    describe(&fixture, "weights");
    reply = fixture_reply(&fixture, 0)->describe_reply;
    assert_int_equal(table_spec_compare(reply->spec, &dense.spec, NULL), STATUS_OK);
    describe(&fixture, "row");
    reply = fixture_reply(&fixture, 0)->describe_reply;
    assert_null(reply->spec);
    assert_int_equal(reply->n_names, 2);
    assert_string_equal(reply->names[0], "rows");
    assert_string_equal(reply->names[1], "weights");
    shard_fixture_deinit(&fixture);
}

static void a_row_that_nobody_uses_expires(void **state)
{
    (void)state;
    const uint64_t second_ns = 1000000000;
    struct shard_fixture fixture;
    struct spec_fixture spec;
    fixture_sparse(&spec, "rows", DIM, SGD);
    spec.spec.evict = ANTHILL__EVICT_KIND__EVICT_AGE;
    spec.spec.evict_seconds = 60;
    open_rows(&fixture, &spec);
    fixture_pull(&fixture, SESSION, 1, 0, 0, some_keys, KEYS);
    for (unsigned second = 1; second <= 120; second++) {
        fixture.now_ns += second_ns;
        shard_tick(fixture.shard, fixture.now_ns, &fixture.outbox);
        if (second % 10 != 0) continue;
        fixture_hello_one(&fixture, SESSION, &spec); /* the session is idle, and forgotten */
        fixture_pull(&fixture, SESSION, 1, 0, 0, &some_keys[1], 1);
    }
    struct table_stats stats;
    table_stats(shard_table(fixture.shard, 0), &stats);
    assert_int_equal(stats.created, KEYS);
    assert_int_equal(stats.expired, KEYS - 1);
    assert_int_equal(stats.rows, 1);
    describe(&fixture, "rows");
    assert_int_equal(fixture_reply(&fixture, 0)->describe_reply->rows, 1);
    shard_fixture_deinit(&fixture);
}

static void requests_for_rows_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct shard_fixture fixture;
    struct spec_fixture spec, dense;
    fixture_sparse(&spec, "rows", DIM, SGD);
    open_rows(&fixture, &spec);
    fixture_dense(&dense, "weights", SGD);
    fixture_tensor(&dense, "w", 3, 2, ANTHILL__INIT_KIND__INIT_ONE, 0);
    fixture_hello_one(&fixture, SESSION, &dense);
    float values[KEYS * DIM] = {0};
    assign(&fixture, 0, 0, values, sizeof values);
    fixture_refused(&fixture, STATUS_INVALID, "Assign without a sequence");
    assign(&fixture, 1, 5, values, sizeof values);
    fixture_refused(&fixture, STATUS_INVALID, "Assign of table 5: there are 2");
    assign(&fixture, 1, 1, values, sizeof values);
    fixture_refused(&fixture, STATUS_INVALID, "Assign of \"weights\", which is dense");
    assign(&fixture, 1, 0, values, sizeof values - 4);
    fixture_refused(&fixture, STATUS_INVALID, "44 bytes of values; 48 expected");
    assign(&fixture, 1, 0, NULL, 0);
    fixture_refused(&fixture, STATUS_INVALID, "1 payload frames; 2 expected");
    values[5] = NAN;
    assign(&fixture, 1, 0, values, sizeof values);
    fixture_refused(&fixture, STATUS_INVALID, "\"rows\"");
    delete_rows(&fixture, 0, 0, 1);
    fixture_refused(&fixture, STATUS_INVALID, "Delete without a sequence");
    delete_rows(&fixture, 1, 0, 0);
    fixture_refused(&fixture, STATUS_INVALID, "0 keys");
    delete_rows(&fixture, 1, 1, 1);
    fixture_refused(&fixture, STATUS_INVALID, "Delete of \"weights\", which is dense");
    scan(&fixture, 0, 0, 63);
    fixture_refused(&fixture, STATUS_INVALID, "keys_max 63; 64 to 65536 expected");
    scan(&fixture, 0, 0, UINT32_MAX);
    fixture_refused(&fixture, STATUS_INVALID, "keys_max 4294967295");
    scan(&fixture, 1, 0, 64);
    fixture_refused(&fixture, STATUS_INVALID, "Scan of \"weights\", which is dense");
    scan(&fixture, 2, 0, 64);
    fixture_refused(&fixture, STATUS_INVALID, "Scan of table 2: there are 2");
    struct shard_stats stats;
    shard_stats(fixture.shard, &stats);
    assert_int_equal(stats.refused, 13);
    assert_int_equal(stats.rows, 0);
    /* A sequence that was refused is free. */
    values[5] = 0;
    assign(&fixture, 1, 0, values, sizeof values);
    shard_stats(fixture.shard, &stats);
    assert_int_equal(stats.rows, KEYS);
    shard_fixture_deinit(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_and_gradients_travel_in_the_encoding_asked_for),
        cmocka_unit_test(a_pull_that_waits_remembers_its_encoding),
        cmocka_unit_test(encodings_that_make_no_sense_are_refused),
        cmocka_unit_test(a_conditional_pull_sends_the_rows_that_are_newer),
        cmocka_unit_test(rows_are_assigned_and_deleted_once),
        cmocka_unit_test(a_scan_lists_every_key_once),
        cmocka_unit_test(a_table_is_described_by_its_name),
        cmocka_unit_test(a_row_that_nobody_uses_expires),
        cmocka_unit_test(requests_for_rows_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
