#include "common/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"

/* Room for `more` bytes and the zero byte after them. */
static void reserve(struct text *text, size_t more)
{
    size_t needed = text->bytes + more + 1;
    if (needed <= text->capacity) return;
    size_t capacity = text->capacity < 64 ? 64 : text->capacity;
    while (capacity < needed)
        capacity *= 2;
    char *data = realloc(text->data, capacity);
    CHECK(data != NULL);
    text->data = data;
    text->capacity = capacity;
}

static void add_bytes(struct text *text, const char *bytes, size_t count)
{
    reserve(text, count);
    memcpy(text->data + text->bytes, bytes, count);
    text->bytes += count;
    text->data[text->bytes] = 0;
}

void text_add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int needed = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(needed >= 0);
    reserve(text, (size_t)needed);
    va_start(args, format);
    vsnprintf(text->data + text->bytes, (size_t)needed + 1, format, args);
    va_end(args);
    text->bytes += (size_t)needed;
}

/* Bytes of the well-formed UTF-8 character at `s`, or 0 (overlong forms, surrogates and numbers
 * past U+10FFFF are not well formed). The string's zero byte ends every look ahead. */
static size_t utf8_bytes(const unsigned char *s)
{
    if (s[0] < 0x80) return 1;
    size_t bytes = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    for (size_t i = 1; i < bytes; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
    }
    bool bad = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
               (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f);
    return bad ? 0 : bytes;
}

void text_add_json_string(struct text *text, const char *string)
{
    static const char *const named[] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};
    add_bytes(text, "\"", 1);
    const unsigned char *s = (const unsigned char *)string;
    while (*s != 0) {
        size_t bytes = utf8_bytes(s);
        if (bytes == 0) {
            add_bytes(text, "\xef\xbf\xbd", 3); /* U+FFFD: JSON must be UTF-8 */
            bytes = 1;
        } else if (*s == '"' || *s == '\\') {
            char escaped[] = {'\\', (char)*s};
            add_bytes(text, escaped, 2);
        } else if (*s < sizeof named / sizeof *named && named[*s] != NULL) {
            add_bytes(text, named[*s], 2);
        } else if (*s < 0x20) {
            text_add(text, "\\u%04x", *s);
        } else {
            add_bytes(text, (const char *)s, bytes);
        }
        s += bytes;
    }
    add_bytes(text, "\"", 1);
}

void text_add_json_number(struct text *text, double value)
{
    if (!isfinite(value)) {
        text_add(text, "null");
        return;
    }
    /* The shortest of the three that reads back as the same number. */
    char number[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(number, sizeof number, "%.*g", digits, value);
        if (strtod(number, NULL) == value) break;
    }
    text_add(text, "%s", number);
}

char *text_take(struct text *text)
{
    reserve(text, 0);
    text->data[text->bytes] = 0;
    char *data = text->data;
    *text = (struct text){0};
    return data;
}

void text_deinit(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}
