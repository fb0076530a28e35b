/* An error's text for a person: what was wrong, where, and what was expected. Filled where the
 * error is found, given context as it rises. Not for control flow: that is `enum status`. */
#ifndef ANTHILL_COMMON_ERROR_H
#define ANTHILL_COMMON_ERROR_H

#include "common/status.h"

#define ERROR_TEXT_BYTES 1024

struct error {
    enum status status;
    char text[ERROR_TEXT_BYTES];
};

/* Sets the text and returns `status`, so that `return error_set(...)` reads well. `error` may be
 * NULL: then only the status is returned. Text that does not fit is cut. */
enum status error_set(struct error *error, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As error_set, followed by ": " and strerror(errno_value). */
enum status error_set_errno(struct error *error, enum status status, int errno_value,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Puts "context: " before the text that is there and returns `status`. */
enum status error_wrap(struct error *error, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
