/* Rows of a text table: comma, tab or space separated, quotes in comma separated ones. Empty lines
 * and lines that begin with # are passed over. */
#ifndef ANTHILL_GRAPH_TABLE_READER_H
#define ANTHILL_GRAPH_TABLE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct field {
    char *text; /* zero-terminated */
    size_t bytes;
};

struct table_row {
    struct field *fields;
    size_t count;
};

struct table_reader;

/* `separator` 0: the first line decides (tab, else comma, else spaces). ' ' stands for any number
 * of spaces and tabs.
 *   owner    returns owned; table_reader_close */
enum status table_reader_open(struct table_reader **reader, const char *path, char separator,
                              struct error *error) MUST_CHECK;
void table_reader_close(struct table_reader *reader);

/* The next row, valid until the next call; count 0 at the end. */
enum status table_reader_next(struct table_reader *reader, struct table_row *row,
                              struct error *error) MUST_CHECK;
/* The next call of table_reader_next gives the same row again. */
void table_reader_unread(struct table_reader *reader);

const char *table_reader_path(const struct table_reader *reader);
uint64_t table_reader_line(const struct table_reader *reader);

/* Whole fields as numbers; false when the field is no such number. parse_u64 tells a number that
 * does not fit by `overflow` (may be NULL). parse_f32 refuses NaN and infinities. */
bool parse_u64(const struct field *field, uint64_t *value, bool *overflow);
bool parse_i64(const struct field *field, int64_t *value);
bool parse_f32(const struct field *field, float *value);

#endif
