/* Lines of a text file, of standard input ("-"), of a .gz file, or of a program's output, with
 * their numbers. Compressed input is recognised by its content. */
#ifndef ANTHILL_GRAPH_LINE_READER_H
#define ANTHILL_GRAPH_LINE_READER_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct line_reader;

/* errors   STATUS_NOT_FOUND, STATUS_IO, with the path
 * owner    returns owned; line_reader_close */
enum status line_reader_open(struct line_reader **reader, const char *path,
                             struct error *error) MUST_CHECK;
/* The output of `command`, run by sh; `path` is what errors name. That the command failed is seen
 * at the end of its output. */
enum status line_reader_open_command(struct line_reader **reader, const char *command,
                                     const char *path, struct error *error) MUST_CHECK;
void line_reader_close(struct line_reader *reader);

/* The next line without its end (\n or \r\n), followed by a zero byte; writable until the next
 * call. NULL at the end of the input.
 *   errors   STATUS_IO; STATUS_CORRUPT for damaged .gz input or a line of more than 256 MiB */
enum status line_reader_next(struct line_reader *reader, char **line, size_t *bytes,
                             struct error *error) MUST_CHECK;

/* Of the line read last, from 1. */
uint64_t line_reader_number(const struct line_reader *reader);
const char *line_reader_path(const struct line_reader *reader);

#endif
