/* Log lines on stderr: time, level, event name, key=value pairs. One info line per change of
 * state. Pure modules do not log. Any thread may call; a line is written whole. */
#ifndef ANTHILL_COMMON_LOG_H
#define ANTHILL_COMMON_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Lines below `level` are dropped. The default is LOG_INFO. */
void log_set_level(enum log_level level);

/* log_event(LOG_INFO, "lease_granted", "worker=%s lease=%u", name, lease) */
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
