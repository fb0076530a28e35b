/* The subcommands of anthill-graph. Each gets argv[0] = "anthill-graph COMMAND" and returns the
 * program's exit code. */
#ifndef ANTHILL_GRAPH_GRAPH_COMMANDS_H
#define ANTHILL_GRAPH_GRAPH_COMMANDS_H

#include <stdbool.h>
#include <stdint.h>

int import_command(int argc, char **argv);
int info_command(int argc, char **argv);
int check_command(int argc, char **argv);
int export_command(int argc, char **argv);
int partition_command(int argc, char **argv);
int sample_command(int argc, char **argv);
int generate_command(int argc, char **argv);

/* "4096", "64K", "256M", "2G". False when it is no such size. */
bool command_parse_size(const char *text, uint64_t *bytes);
/* A whole number in [least, most]. */
bool command_parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *number);

#endif
