#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static enum log_level level_min = LOG_INFO;

void log_set_level(enum log_level level)
{
    level_min = level;
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (level < level_min) return;
    char line[2048];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(line + used, sizeof line - used, ".%03ldZ %s %s ",
                             now.tv_nsec / 1000000, names[level], event);
    va_list args;
    va_start(args, format);
    int more = vsnprintf(line + used, sizeof line - used - 1, format, args);
    va_end(args);
    if (more > 0) used += (size_t)more;
    if (used > sizeof line - 2) used = sizeof line - 2;
    line[used++] = '\n';
    /* One write keeps lines of several threads apart; a log that cannot be written is lost. */
    if (write(STDERR_FILENO, line, used) < 0) return;
}
