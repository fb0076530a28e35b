#include "graph/table_reader.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "graph/line_reader.h"

struct table_reader {
    struct line_reader *lines;
    char separator; /* 0 until the first line was seen */
    struct field *fields;
    size_t field_count, field_capacity;
    bool unread;
};

enum status table_reader_open(struct table_reader **out, const char *path, char separator,
                              struct error *error)
{
    *out = NULL;
    struct table_reader *reader = calloc(1, sizeof *reader);
    CHECK(reader != NULL);
    reader->separator = separator;
    enum status status = line_reader_open(&reader->lines, path, error);
    if (status != STATUS_OK) {
        table_reader_close(reader);
        return status;
    }
    *out = reader;
    return STATUS_OK;
}

void table_reader_close(struct table_reader *reader)
{
    if (reader == NULL) return;
    line_reader_close(reader->lines);
    free(reader->fields);
    free(reader);
}

static void field_add(struct table_reader *reader, char *text, size_t bytes)
{
    if (reader->field_count == reader->field_capacity) {
        reader->field_capacity = reader->field_capacity == 0 ? 16 : 2 * reader->field_capacity;
        reader->fields = realloc(reader->fields, reader->field_capacity * sizeof *reader->fields);
        CHECK(reader->fields != NULL);
    }
    text[bytes] = '\0';
    reader->fields[reader->field_count++] = (struct field){.text = text, .bytes = bytes};
}

static void split_spaces(struct table_reader *reader, char *line, char *end)
{
    for (char *at = line; at < end;) {
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        char *begin = at;
        while (at < end && *at != ' ' && *at != '\t')
            at++;
        if (at > begin) field_add(reader, begin, (size_t)(at - begin));
        at++;
    }
}

/* A field in quotes may hold commas and, doubled, quotes. Returns what follows the field. */
static char *split_quoted(struct table_reader *reader, char *at, char *end)
{
    char *text = at + 1, *to = text;
    for (at = text; at < end; at++) {
        if (*at == '"' && (at + 1 == end || at[1] != '"')) break;
        if (*at == '"') at++;
        *to++ = *at;
    }
    if (at < end) at++;
    /* Anything between the closing quote and the separator belongs to the field. */
    while (at < end && *at != ',')
        *to++ = *at++;
    field_add(reader, text, (size_t)(to - text));
    return at;
}

static void split_separated(struct table_reader *reader, char *line, char *end)
{
    for (char *at = line;; at++) {
        if (reader->separator == ',' && at < end && *at == '"') {
            at = split_quoted(reader, at, end);
        } else {
            char *next = at;
            while (next < end && *next != reader->separator)
                next++;
            char *begin = at;
            at = next;
            /* Spaces beside a separator are layout. */
            while (begin < next && *begin == ' ')
                begin++;
            while (next > begin && next[-1] == ' ')
                next--;
            field_add(reader, begin, (size_t)(next - begin));
        }
        if (at >= end) return;
    }
}

enum status table_reader_next(struct table_reader *reader, struct table_row *row,
                              struct error *error)
{
    char *line = NULL;
    size_t bytes = 0;
    while (!reader->unread) {
        reader->field_count = 0;
        enum status status = line_reader_next(reader->lines, &line, &bytes, error);
        if (status != STATUS_OK) return status;
        if (line == NULL) break;
        if (bytes == 0 || line[0] == '#' || strspn(line, " \t") == bytes) continue;
        if (reader->separator == 0) {
            reader->separator = ' ';
            if (memchr(line, ',', bytes) != NULL) reader->separator = ',';
            if (memchr(line, '\t', bytes) != NULL) reader->separator = '\t';
        }
        if (reader->separator == ' ')
            split_spaces(reader, line, line + bytes);
        else
            split_separated(reader, line, line + bytes);
        break;
    }
    reader->unread = false;
    *row = (struct table_row){.fields = reader->fields, .count = reader->field_count};
    return STATUS_OK;
}

void table_reader_unread(struct table_reader *reader)
{
    reader->unread = true;
}

const char *table_reader_path(const struct table_reader *reader)
{
    return line_reader_path(reader->lines);
}

uint64_t table_reader_line(const struct table_reader *reader)
{
    return line_reader_number(reader->lines);
}

bool parse_u64(const struct field *field, uint64_t *value, bool *overflow)
{
    uint64_t sum = 0;
    if (overflow != NULL) *overflow = false;
    if (field->bytes == 0) return false;
    for (size_t i = 0; i < field->bytes; i++) {
        unsigned digit = (unsigned)(unsigned char)field->text[i] - '0';
        if (digit > 9) {
            if (overflow != NULL) *overflow = false;
            return false;
        }
        if (sum > (UINT64_MAX - digit) / 10) {
            if (overflow != NULL)
                *overflow = true;
            else
                return false;
            sum = 0;
        }
        sum = sum * 10 + digit;
    }
    if (overflow != NULL && *overflow) return false;
    *value = sum;
    return true;
}

bool parse_i64(const struct field *field, int64_t *value)
{
    const bool negative = field->bytes > 0 && field->text[0] == '-';
    const bool sign = negative || (field->bytes > 0 && field->text[0] == '+');
    const struct field digits = {.text = field->text + sign, .bytes = field->bytes - sign};
    uint64_t magnitude;
    if (!parse_u64(&digits, &magnitude, NULL)) return false;
    if (magnitude > (uint64_t)INT64_MAX + negative) return false;
    *value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

bool parse_f32(const struct field *field, float *value)
{
    char *end = NULL;
    if (field->bytes == 0 || strchr(" \t\n\r\v\f", field->text[0]) != NULL) return false;
    *value = strtof(field->text, &end);
    return end == field->text + field->bytes && isfinite(*value);
}
