/* Result codes: returned by functions, carried on the wire, mapped to exit codes of the programs.
 * Anyone may include this file. */
#ifndef ANTHILL_COMMON_STATUS_H
#define ANTHILL_COMMON_STATUS_H

/* A function that can fail returns one of these; results go through pointers. The numbers are on
 * the wire and do not change. */
enum status {
    STATUS_OK = 0,
    STATUS_USAGE = 1,       /* wrong command line or wrong call */
    STATUS_CORRUPT = 2,     /* data that contradicts itself or its format */
    STATUS_NOT_FOUND = 3,   /* a named input is missing */
    STATUS_UNAVAILABLE = 4, /* a peer did not answer before the deadline */
    STATUS_NOMEM = 5,       /* memory or a configured limit of it is used up */
    STATUS_IO = 6,          /* the operating system refused to read or write */
    STATUS_BUSY = 7,        /* a limit is reached; the same call may succeed later */
    STATUS_DENIED = 8,      /* the caller may not do this */
    STATUS_CONFIG = 9,      /* configuration that cannot work */
    STATUS_INVALID = 10,    /* a request that makes no sense to the receiver */
    STATUS_STOPPED = 11,    /* asked to stop before it was done */
    STATUS_EXPIRED = 12,    /* the peer has forgotten what the request builds on */
};

#define STATUS_LAST STATUS_EXPIRED

#define MUST_CHECK __attribute__((warn_unused_result))

/* "ok", "corrupt", ...; never NULL, static storage. */
const char *status_name(enum status status);

/* The exit code of a program that ends with `status`: those of sysexits(3). */
int status_exit_code(enum status status);

#endif
