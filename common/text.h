/* A growing string: for JSON, YAML and tables that go to people. */
#ifndef ANTHILL_COMMON_TEXT_H
#define ANTHILL_COMMON_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
    char *data; /* always ends in a zero byte once something was added; NULL before */
    size_t bytes, capacity;
};

/* Memory that is used up ends the process. */
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As a JSON string with its quotes. */
void text_add_json_string(struct text *text, const char *string);

/* As a JSON number; NaN and infinities become null. */
void text_add_json_number(struct text *text, double value);

/* returns owned (never NULL); the text is empty afterwards. */
char *text_take(struct text *text);
void text_deinit(struct text *text);

#endif
