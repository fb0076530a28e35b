/* Error texts and status codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/error.h"

static void an_error_keeps_status_and_text(void **state)
{
    (void)state;
    struct error error = {0};
    assert_int_equal(error_set(&error, STATUS_CORRUPT, "row %d", 7), STATUS_CORRUPT);
    assert_int_equal(error.status, STATUS_CORRUPT);
    assert_string_equal(error.text, "row 7");
}

static void context_is_put_before_the_text(void **state)
{
    (void)state;
    struct error error = {0};
    error_set_errno(&error, STATUS_IO, ENOSPC, "cannot write %s", "a");
    assert_int_equal(error_wrap(&error, STATUS_IO, "checkpoint %d", 3), STATUS_IO);
    assert_string_equal(error.text, "checkpoint 3: cannot write a: No space left on device");
}

static void text_that_does_not_fit_is_cut(void **state)
{
    (void)state;
    struct error error = {0};
    error_set(&error, STATUS_IO, "%02000d", 1);
    assert_int_equal(strlen(error.text), ERROR_TEXT_BYTES - 1);
    error_set_errno(&error, STATUS_IO, EIO, "%02000d", 1);
    assert_int_equal(strlen(error.text), ERROR_TEXT_BYTES - 1);
    error_wrap(&error, STATUS_IO, "before");
    assert_int_equal(strlen(error.text), ERROR_TEXT_BYTES - 1);
    assert_memory_equal(error.text, "before: 000", 11);
}

static void without_an_error_only_the_status_returns(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, STATUS_BUSY, "x"), STATUS_BUSY);
    assert_int_equal(error_set_errno(NULL, STATUS_IO, EIO, "x"), STATUS_IO);
    assert_int_equal(error_wrap(NULL, STATUS_DENIED, "x"), STATUS_DENIED);
}

static void every_status_has_a_name_and_an_exit_code(void **state)
{
    (void)state;
    assert_string_equal(status_name(STATUS_OK), "ok");
    assert_int_equal(status_exit_code(STATUS_OK), 0);
    assert_int_equal(status_exit_code(STATUS_USAGE), 64);
    assert_int_equal(status_exit_code(STATUS_CORRUPT), 65);
    assert_int_equal(status_exit_code(STATUS_NOT_FOUND), 66);
    assert_int_equal(status_exit_code(STATUS_UNAVAILABLE), 69);
    assert_int_equal(status_exit_code(STATUS_IO), 74);
    assert_int_equal(status_exit_code(STATUS_BUSY), 75);
    assert_int_equal(status_exit_code(STATUS_DENIED), 77);
    assert_int_equal(status_exit_code(STATUS_CONFIG), 78);
    for (int status = STATUS_USAGE; status <= STATUS_LAST; status++) {
        int code = status_exit_code((enum status)status);
        assert_in_range(code, 64, 78);
        assert_true(strlen(status_name((enum status)status)) > 0);
    }
    assert_string_equal(status_name((enum status)99), "unknown");
    assert_int_equal(status_exit_code((enum status)99), 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_keeps_status_and_text),
        cmocka_unit_test(context_is_put_before_the_text),
        cmocka_unit_test(text_that_does_not_fit_is_cut),
        cmocka_unit_test(without_an_error_only_the_status_returns),
        cmocka_unit_test(every_status_has_a_name_and_an_exit_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
