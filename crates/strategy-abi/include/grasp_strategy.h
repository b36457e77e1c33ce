/* The C interface of sync strategies for grasp-sync, version 1.0.
 *
 * A library exports one function, grasp_sync_strategy_v1, which answers a table that is good as long as the process lives.
 * The rules (who owns what, which thread calls, what may come later) are in docs/plugin-abi.md; in short:
 *   - pointers in arguments are good for the call; a session's outputs until the session is called again;
 *   - nobody frees what the other side made;
 *   - one thread at a time per session, not always the same; different sessions may be called at once;
 *   - time comes from the host, with each input; a session reads no clock;
 *   - nothing but returning leaves a function: no longjmp, no exception, no exit.
 */
#ifndef GRASP_STRATEGY_H
#define GRASP_STRATEGY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "GRSPSYNC", read as a number. */
#define GS_MAGIC UINT64_C(0x4752535053594e43)
#define GS_ABI_MAJOR 1
#define GS_ABI_MINOR 0

/* Stands for "not said", "none", or "without end", where a number could be. */
#define GS_NONE UINT64_MAX

/* What functions answer. */
#define GS_OK 0
#define GS_SOME 1      /* it worked, and there is one; of suits: yes */
#define GS_FAILED (-1) /* last_error tells why; a session is over */
#define GS_PANICKED (-2)

/* gs_strategy.flags */
#define GS_COMPARES_SETS UINT32_C(1) /* a second session after the first one's events are stored must find nothing */
#define GS_PROBES_ALONE UINT32_C(2)  /* the first question of a connection goes alone */

/* Bytes that somebody else owns. Where len is 0 the pointer may be null. */
typedef struct gs_bytes {
    const uint8_t *ptr;
    size_t len;
} gs_bytes;

/* An id of an event, or a public key. */
typedef uint8_t gs_id[32];

/* A span of created_at, both ends included. */
typedef struct gs_window {
    uint64_t since;
    uint64_t until;
} gs_window;

/* A place in the order of a set: by time, then id. */
typedef struct gs_item {
    uint64_t created_at;
    gs_id id;
} gs_item;

/* gs_setting.kind */
#define GS_SETTING_INTEGER 1
#define GS_SETTING_BOOL 2
#define GS_SETTING_TEXT 3
#define GS_SETTING_OTHER 4

/* A value of the strategy's section of the configuration. */
typedef struct gs_setting {
    gs_bytes key;
    gs_bytes text;        /* the text of a text; of anything else its JSON */
    uint32_t kind;
    uint32_t reserved;
    int64_t integer;      /* of a whole number; 1 and 0 for true and false */
    uint64_t duration_ms; /* of a text such as "30s"; otherwise GS_NONE */
} gs_setting;

/* The section: all of it as JSON, and value by value. */
typedef struct gs_config {
    uint32_t struct_size;
    uint32_t reserved;
    gs_bytes json;
    const gs_setting *settings;
    size_t settings_len;
} gs_config;

/* What check_config answers. struct_size is the host's; key, value (JSON) and allowed (words) are for GS_FAILED, and good
 * until the plugin is called again on this thread. */
typedef struct gs_checked {
    uint32_t struct_size;
    uint32_t concurrency;       /* sessions at once on one connection, 1 to 64 */
    uint32_t fetch_chunk;       /* ids per request when what it needs is fetched, 1 to 10000 */
    uint32_t reserved;
    uint64_t answer_timeout_ms; /* how long such a request, or an upload, may stay without an answer */
    gs_bytes key;
    gs_bytes value;
    gs_bytes allowed;
} gs_checked;

/* What a relay says of itself (NIP-11): not to be believed. GS_NONE: not said. */
typedef struct gs_profile {
    uint32_t struct_size;
    uint32_t reserved;
    const uint16_t *nips;
    size_t nips_len;
    gs_bytes software;
    uint64_t max_subscriptions;
    uint64_t max_filters;
    uint64_t max_limit;
    uint64_t max_message_length;
} gs_profile;

/* A filter (NIP-01), whole as JSON, and the conditions that may be narrowed by themselves; null where it has no such one. */
typedef struct gs_filter {
    gs_bytes json;
    const uint16_t *kinds;
    size_t kinds_len;
    const gs_id *authors;
    size_t authors_len;
    const gs_id *ids;
    size_t ids_len;
} gs_filter;

/* gs_request.direction */
#define GS_DOWN 1 /* from the relay to us */
#define GS_UP 2   /* from us to the relay */
#define GS_BOTH 3

/* What a session is opened with: one filter, one window. */
typedef struct gs_request {
    uint32_t struct_size;
    uint32_t direction;
    gs_filter filter;         /* times in it bound the window further */
    gs_window window;         /* its until may be GS_NONE; what needs it fixed takes the time of the start */
    const gs_window *drained; /* what was drained before and needn't be read again */
    size_t drained_len;
    gs_bytes remembered;      /* what this strategy last asked to remember of this relay; empty at first */
    const gs_profile *profile;
    uint64_t seed;            /* for whatever is to look random */
    uint32_t proven;          /* 1: a session of this strategy was answered on this connection before */
    uint32_t reserved;
} gs_request;

/* gs_input.kind */
#define GS_START 1           /* begin; given once, first */
#define GS_EVENT 2           /* an event of one of the session's REQs, after its checks, in the order of the wire */
#define GS_EOSE 3            /* a subscription has no more stored events */
#define GS_CLOSED 4          /* the relay ended a subscription */
#define GS_NEG_MSG 5         /* a reconciliation message (NIP-77), decoded from hex */
#define GS_NEG_ERR 6         /* the relay ended a reconciliation */
#define GS_NOTICE 7          /* a NOTICE that answers the session's only open question */
#define GS_TIMEOUT 8         /* the deadline of next_timeout has passed */
#define GS_CONNECTION_LOST 9 /* nothing that the session sends is sent any more */

/* gs_input.verdict. Whatever is not less than GS_BAD was dropped. */
#define GS_NEW 0
#define GS_KNOWN 1
#define GS_BAD 16
#define GS_BAD_MALFORMED 17
#define GS_BAD_TOO_LARGE 18
#define GS_BAD_TOO_MANY_TAGS 19
#define GS_BAD_WRONG_ID 20
#define GS_BAD_NOT_ASKED 21
#define GS_BAD_SIGNATURE 22

/* gs_input.meaning, gs_output.meaning. Numbers that aren't known count as GS_UNKNOWN. */
#define GS_UNKNOWN 0
#define GS_SAID_UNSUPPORTED 1
#define GS_SAID_TOO_BIG 2
#define GS_SESSION_GONE 3
#define GS_AUTH_REQUIRED 4
#define GS_RESTRICTED 5
#define GS_RATE_LIMITED 6
#define GS_TOO_MANY_AT_ONCE 7
#define GS_BLOCKED 8
#define GS_INVALID 9
#define GS_ERROR 10
#define GS_DUPLICATE 11 /* an answer to EVENT, as are the two that follow: relays mix them up */
#define GS_PURGATORY 12
#define GS_POW 13

/* What a session is told. */
typedef struct gs_input {
    uint32_t kind;
    uint32_t sub;              /* the session's number of the subscription that it belongs to */
    uint64_t mono_ms;          /* when it came, by a clock that only goes forward */
    uint64_t unix_s;           /* when it came */
    uint64_t created_at;       /* EVENT: its time, checked; 0 where the verdict is bad */
    gs_id id;                  /* EVENT: its id; not checked where the verdict is bad */
    uint32_t verdict;          /* EVENT */
    int32_t finished;          /* EOSE: 1 for NIP-67's finish, 0 for more, -1 where there is no hint */
    uint32_t meaning;          /* CLOSED, NEG_ERR, NOTICE */
    uint32_t names_negentropy; /* CLOSED, NEG_ERR, NOTICE: 1 where the words name negentropy */
    uint64_t cap;              /* CLOSED, NEG_ERR, NOTICE: the most records that the relay takes, or GS_NONE */
    gs_bytes bytes;            /* CLOSED, NEG_ERR, NOTICE: the relay's words, UTF-8; NEG_MSG: the payload */
} gs_input;

/* What we have or don't want of the filter and window, asked during handle, on its thread. One state for the whole call; it
 * may be another in the next. Ranges go from start, included, to end, not included. */
typedef struct gs_set {
    uint32_t struct_size;
    uint32_t reserved;
    void *ctx;
    uint64_t (*count)(void *ctx, const gs_item *start, const gs_item *end);
    /* NIP-77's fingerprint, written to 16 bytes. */
    void (*fingerprint)(void *ctx, const gs_item *start, const gs_item *end, uint8_t *out);
    /* The first cap items in ascending order, written to out; answers how many. */
    size_t (*items)(void *ctx, const gs_item *start, const gs_item *end, gs_item *out, size_t cap);
    /* Places that cut the range into at most parts pieces of about equal count, at most parts - 1 of them. */
    size_t (*split)(void *ctx, const gs_item *start, const gs_item *end, size_t parts, gs_item *out);
} gs_set;

/* gs_host.log's levels */
#define GS_LOG_ERROR 1
#define GS_LOG_WARN 2
#define GS_LOG_INFO 3
#define GS_LOG_DEBUG 4
#define GS_LOG_TRACE 5

/* What a session may ask of the host, from within a call of the session, on its thread. Good during create only: copy it. What is in it
   is good until destroy has returned. */
typedef struct gs_host {
    uint32_t struct_size;
    uint32_t reserved;
    void *ctx;
    void (*log)(void *ctx, uint32_t level, gs_bytes text);
    /* A span in the batch's trace; what is open when the call returns is ended. */
    uint64_t (*span_begin)(void *ctx, gs_bytes name);
    void (*span_end)(void *ctx, uint64_t span);
} gs_host;

/* gs_output.kind */
#define GS_REQ 1       /* ask for stored events: the session's filter, narrowed */
#define GS_CLOSE 2     /* end a REQ */
#define GS_NEG_OPEN 3  /* begin a reconciliation of the session's filter, narrowed */
#define GS_NEG_SEND 4  /* go on with a reconciliation */
#define GS_NEG_CLOSE 5 /* end a reconciliation */
#define GS_NEED 6      /* the relay has these and we have not: the host fetches them */
#define GS_HAVE 7      /* we have these and the relay has not */
#define GS_SHARED 8    /* what was compared; once, before the end */
#define GS_DENSE 9     /* a second holds more events than the relay shows of it at once, or may do so */
#define GS_DRAINED 10  /* everything of the filter in a window was shown */
#define GS_REMEMBER 11 /* keep this for the next session with this relay */
#define GS_PROGRESS 12 /* a round or a page has ended */
#define GS_DONE 13     /* the end; nothing follows */

/* gs_output.outcome */
#define GS_COMPLETE 1    /* everything that the relay showed was named or delivered */
#define GS_INCOMPLETE 2  /* something is known to be missing */
#define GS_TOO_BIG 3     /* the relay finds it too big */
#define GS_UNSUPPORTED 4 /* the relay doesn't know this way */
#define GS_GAVE_UP 5     /* it went wrong; the same may work later */

/* gs_output.reason */
#define GS_WHY_TIMEOUT 1
#define GS_WHY_CONNECTION_LOST 2
#define GS_WHY_PROTOCOL 3
#define GS_WHY_LOCAL 4
#define GS_WHY_REFUSED 5
#define GS_WHY_NOT_SERVED 6
#define GS_WHY_DENSE_SECOND 7
#define GS_WHY_TOO_BIG 8
#define GS_WHY_UNSUPPORTED 9

/* What a session yields. The host zeroes it and sets struct_size before each poll. */
typedef struct gs_output {
    uint32_t struct_size;
    uint32_t kind;
    uint32_t sub;         /* REQ, CLOSE, NEG_*: the session's number of the subscription */
    uint32_t certain;     /* DENSE: 1 where it is known that there are more */
    gs_window window;     /* REQ, NEG_OPEN: what of the window; NEED: what holds the ids; DRAINED: what was shown whole */
    uint64_t limit;       /* REQ: how many events at most; 0 for no limit */
    uint64_t count;       /* SHARED: items of both sides; DENSE: shown; PROGRESS: what it brought; DONE, not served: in all */
    uint64_t second;      /* DENSE, and DONE for a dense second: the second; SHARED: the oldest item's, or GS_NONE */
    uint64_t cap;         /* DONE, too big: the most records that the relay takes, or GS_NONE */
    const gs_id *ids;     /* NEED, HAVE, DONE for not served; REQ, NEG_OPEN: these of the filter's only, null for all */
    size_t ids_len;
    const uint16_t *kinds; /* REQ, NEG_OPEN: these only, null for all of the filter's */
    size_t kinds_len;
    const gs_id *authors; /* REQ, NEG_OPEN: these only, null for all of the filter's */
    size_t authors_len;
    gs_bytes bytes;       /* NEG_OPEN, NEG_SEND: the payload; REMEMBER: what to keep; DONE: words for people, UTF-8 */
    uint32_t outcome;     /* DONE */
    uint32_t reason;      /* DONE, incomplete and given up */
    uint32_t meaning;     /* DONE, refused: GS_AUTH_REQUIRED and the like */
    uint32_t reserved;
} gs_output;

/* A strategy. The first six fields stand where they are in every version. */
typedef struct gs_strategy {
    uint64_t magic;
    uint16_t abi_major;
    uint16_t abi_minor;
    uint32_t struct_size;
    gs_bytes name;    /* in sync.strategies: 1 to 64 of a-z 0-9 - _ */
    gs_bytes version; /* UTF-8, 1 to 64 bytes */
    uint32_t flags;
    uint32_t reserved;
    int32_t (*check_config)(const gs_config *config, gs_checked *checked);
    int32_t (*suits)(const gs_config *config, const gs_profile *profile, const gs_filter *filter);
    int32_t (*create)(const gs_config *config, const gs_host *host, const gs_request *request, void **session);
    int32_t (*handle)(void *session, const gs_input *inputs, size_t inputs_len, const gs_set *set);
    int32_t (*poll)(void *session, gs_output *output);
    int32_t (*next_timeout)(void *session, uint64_t *mono_ms, gs_bytes *what);
    void (*last_error)(void *session, gs_bytes *text);
    void (*destroy)(void *session);
} gs_strategy;

#if defined(_WIN32)
__declspec(dllexport)
#elif defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const gs_strategy *grasp_sync_strategy_v1(void);

#ifdef __cplusplus
}
#endif

#endif
