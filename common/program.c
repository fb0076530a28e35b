#include "common/program.h"

#include <argp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

#if defined(ANTHILL_JEMALLOC)
#include <jemalloc/jemalloc.h>
#endif

#include "common/blas.h"
#include "common/check.h"
#include "common/kernel_clones.h"
#include "common/log.h"

static const char *program_name = "anthill";
static atomic_bool stop_requested;

static void on_stop_signal(int signal_number)
{
    (void)signal_number;
    atomic_store_explicit(&stop_requested, true, memory_order_relaxed);
}

bool program_stop_requested(void)
{
    return atomic_load_explicit(&stop_requested, memory_order_relaxed);
}

void program_request_stop(void)
{
    atomic_store_explicit(&stop_requested, true, memory_order_relaxed);
}

static void signals_setup(void)
{
    /* No SA_RESTART: a call that waits returns, and its loop looks at the flag. */
    struct sigaction stop = {.sa_handler = on_stop_signal}, ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&stop.sa_mask);
    sigemptyset(&ignore.sa_mask);
    CHECK(sigaction(SIGINT, &stop, NULL) == 0);
    CHECK(sigaction(SIGTERM, &stop, NULL) == 0);
    CHECK(sigaction(SIGPIPE, &ignore, NULL) == 0);
}

/* Each connection is an open file, and shells give a soft limit of 1,024. */
static void open_files_setup(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

#if defined(ANTHILL_JEMALLOC)

/* The linker keeps jemalloc only for a program that names one of its symbols, and a preloaded
 * library may still stand before it: malloc is jemalloc's when jemalloc counts what malloc gives.
 */
static bool malloc_is_jemalloc(void)
{
    uint64_t before = 0, after = 0;
    size_t bytes = sizeof before;
    if (mallctl("thread.allocated", &before, &bytes, NULL, 0) != 0) return false;
    void *volatile piece = malloc(100);
    int failed = mallctl("thread.allocated", &after, &bytes, NULL, 0);
    free(piece);
    return failed == 0 && after >= before + 100;
}

const char *program_allocator(void)
{
    static char name[64];
    const char *version = NULL;
    size_t bytes = sizeof(const char *);
    if (!malloc_is_jemalloc()) return "libc malloc";
    CHECK(mallctl("version", &version, &bytes, NULL, 0) == 0);
    /* "5.3.0-0-g54eaed1d...": what follows the number says nothing to a user. */
    snprintf(name, sizeof name, "jemalloc %.*s", (int)strcspn(version, "-"), version);
    return name;
}

static bool allocator_is_right(void)
{
    return malloc_is_jemalloc();
}

#else

const char *program_allocator(void)
{
    return "libc malloc";
}

static bool allocator_is_right(void)
{
    return true;
}

#endif

static void print_help(FILE *stream, const char *purpose, const struct program_command *commands,
                       size_t command_count)
{
    fprintf(stream, "Usage: %s COMMAND [OPTION...]\n%s\n\nCommands:\n", program_name, purpose);
    for (size_t i = 0; i < command_count; i++)
        fprintf(stream, "  %-12s %s\n", commands[i].name, commands[i].summary);
    fprintf(stream, "\n%s COMMAND --help shows the options of a command; --version the version.\n",
            program_name);
}

static int refuse_command(const char *command, const struct program_command *commands,
                          size_t command_count)
{
    fprintf(stderr, "%s: unknown command '%s'; commands are", program_name, command);
    for (size_t i = 0; i < command_count; i++)
        fprintf(stderr, "%s %s", i == 0 ? "" : ",", commands[i].name);
    fprintf(stderr, "\n");
    return EX_USAGE;
}

static int run_command(const struct program_command *command, int argc, char **argv)
{
    size_t bytes = strlen(program_name) + strlen(command->name) + 2;
    char *full = malloc(bytes);
    CHECK(full != NULL);
    snprintf(full, bytes, "%s %s", program_name, command->name);
    char *kept = argv[1];
    argv[1] = full;
    int code = command->run(argc - 1, argv + 1);
    argv[1] = kept;
    free(full);
    return code;
}

int program_main(const char *name, const char *purpose, const struct program_command *commands,
                 size_t command_count, int argc, char **argv)
{
    static char version[160];
    program_name = name;
    blas_start(argv);
    if (!allocator_is_right()) {
        fprintf(stderr, "%s: malloc is not jemalloc's; is another allocator preloaded?\n", name);
        return EX_SOFTWARE;
    }
    open_files_setup();
    signals_setup();
    snprintf(version, sizeof version, "%s %s (%s, kernels %s, OpenBLAS %s)", name, ANTHILL_VERSION,
             program_allocator(), kernel_clones_name(), blas_family());
    argp_program_version = version;
    argp_err_exit_status = EX_USAGE;
    if (argc < 2) {
        print_help(stderr, purpose, commands, command_count);
        return EX_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0) {
        print_help(stdout, purpose, commands, command_count);
        return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("%s\n", version);
        return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
    }
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) return run_command(&commands[i], argc, argv);
    }
    return refuse_command(argv[1], commands, command_count);
}

void program_log_start(void)
{
    log_event(LOG_INFO, "started", "version=%s allocator=\"%s\" kernels=%s openblas=%s",
              ANTHILL_VERSION, program_allocator(), kernel_clones_name(), blas_family());
}

int program_fail(enum status status, const struct error *error)
{
    bool has_text = error != NULL && error->text[0] != 0;
    fprintf(stderr, "%s: %s\n", program_name, has_text ? error->text : status_name(status));
    return status_exit_code(status);
}

void string_list_add(struct string_list *list, char *item)
{
    char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    CHECK(items != NULL);
    list->items = items;
    list->items[list->count++] = item;
}

void string_list_deinit(struct string_list *list)
{
    free(list->items);
    *list = (struct string_list){0};
}
