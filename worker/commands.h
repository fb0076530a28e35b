/* The subcommands of anthill-worker; each returns the program's exit code. */
#ifndef ANTHILL_WORKER_COMMANDS_H
#define ANTHILL_WORKER_COMMANDS_H

int train_command(int argc, char **argv);
int eval_command(int argc, char **argv);
int infer_command(int argc, char **argv);

#endif
