/* Strings, JSON and growth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

static void a_text_grows_and_ends_in_a_zero_byte(void **state)
{
    (void)state;
    struct text text = {0};
    for (int i = 0; i < 1000; i++)
        text_add(&text, "%d,", i % 10);
    assert_int_equal(text.bytes, 2000);
    assert_int_equal(strlen(text.data), 2000);
    assert_memory_equal(text.data + 1980, "0,1,2,3,4,5,6,7,8,9,", 20);
    text_deinit(&text);
    assert_null(text.data);
}

static void taking_an_empty_text_gives_an_empty_string(void **state)
{
    (void)state;
    struct text text = {0};
    char *taken = text_take(&text);
    assert_string_equal(taken, "");
    assert_null(text.data);
    free(taken);
    text_add(&text, "again");
    taken = text_take(&text);
    assert_string_equal(taken, "again");
    free(taken);
}

static void expect_json(const char *string, const char *json)
{
    struct text text = {0};
    text_add_json_string(&text, string);
    assert_string_equal(text.data, json);
    text_deinit(&text);
}

static void json_strings_are_escaped(void **state)
{
    (void)state;
    expect_json("plain", "\"plain\"");
    expect_json("a\"b\\c", "\"a\\\"b\\\\c\"");
    expect_json("\b\t\n\f\r", "\"\\b\\t\\n\\f\\r\"");
    expect_json("\x01\x1f", "\"\\u0001\\u001f\"");
    expect_json("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9c",
                "\"h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9c\"");
}

static void bytes_that_are_not_utf8_become_the_replacement_character(void **state)
{
    (void)state;
    expect_json("\xff", "\"\xef\xbf\xbd\"");
    expect_json("a\xc3", "\"a\xef\xbf\xbd\"");                               /* cut off */
    expect_json("\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"");                 /* overlong '/' */
    expect_json("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""); /* surrogate */
    expect_json("\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void json_numbers_are_short_and_read_back(void **state)
{
    (void)state;
    static const double numbers[] = {0.1, 1.0 / 3, 1e300, 5e-324, 123456789.0, -2.5};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct text text = {0};
        text_add_json_number(&text, numbers[i]);
        assert_true(strtod(text.data, NULL) == numbers[i]);
        text_deinit(&text);
    }
    struct text text = {0};
    text_add_json_number(&text, 0.1);
    text_add(&text, " ");
    text_add_json_number(&text, (double)NAN);
    text_add(&text, " ");
    text_add_json_number(&text, -(double)INFINITY);
    assert_string_equal(text.data, "0.1 null null");
    text_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_grows_and_ends_in_a_zero_byte),
        cmocka_unit_test(taking_an_empty_text_gives_an_empty_string),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(bytes_that_are_not_utf8_become_the_replacement_character),
        cmocka_unit_test(json_numbers_are_short_and_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
