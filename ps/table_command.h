#ifndef ANTHILL_PS_TABLE_COMMAND_H
#define ANTHILL_PS_TABLE_COMMAND_H

/* `anthill-ps export`, `import` and `delete`: rows of a table of a run that goes on. */
int export_command(int argc, char **argv);
int import_command(int argc, char **argv);
int delete_command(int argc, char **argv);

#endif
