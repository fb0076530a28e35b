#include "common/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum status error_set(struct error *error, enum status status, const char *format, ...)
{
    if (error == NULL) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    error->status = status;
    return status;
}

enum status error_set_errno(struct error *error, enum status status, int errno_value,
                            const char *format, ...)
{
    if (error == NULL) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    size_t used = strlen(error->text);
    snprintf(error->text + used, sizeof error->text - used, ": %s", strerror(errno_value));
    error->status = status;
    return status;
}

enum status error_wrap(struct error *error, enum status status, const char *format, ...)
{
    if (error == NULL) return status;
    char inner[ERROR_TEXT_BYTES];
    memcpy(inner, error->text, sizeof inner);
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    size_t used = strlen(error->text);
    snprintf(error->text + used, sizeof error->text - used, ": %s", inner);
    error->status = status;
    return status;
}
