/* A sync strategy for grasp-sync in C: asks for one author at a time, and where the filter names kinds but no authors, for one
 * kind at a time. Where it names neither, the filter is asked for as it is.
 *
 *   cc -std=c11 -O2 -fPIC -shared -I crates/strategy-abi/include -o libby_author.so by_author.c
 *
 * What is to be read of an author is a stack of spans of time, the newest on top. A span is asked for as a whole. How many
 * events a relay shows at most, it may not tell, nor which ones; so an answer counts as whole only where it holds fewer events
 * than the largest one so far, and fewer than were asked for. Any other is asked for again in pieces, down to one second; a
 * second that can't be shown whole is named as dense. What lies below the oldest event of an answer is asked for until
 * nothing comes: should there be something, the answer was cut, and is asked for again.
 *
 * A window is drained only where all authors have been read in it. So the author who is the furthest behind is always next, and
 * what lies above all of them is claimed. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grasp_strategy.h"

#define MAX_UNITS 64            /* beyond it, authors are asked for in groups: a host allows 1000 questions without news */
#define MAX_SPANS 100000        /* of one author */
#define MAX_QUESTIONS 100000    /* of one session */
#define MAX_UNSURE 500          /* seconds that wait for a larger answer: what is said of one input stays in proportion */
#define MAX_ANSWER 1000000      /* events of one answer */
#define MAX_INVALID 500         /* answers of invalid events alone */
#define ENOUGH 4                /* answers after which invalid events that came with all of them are noise */
#define MAX_TIMEOUTS 20         /* timeouts that one answer may take in all */
#define MAX_HAVE 1000           /* ids in one output */

/* What an answer comes to where its span turns out to hold nothing, or something. */
#define NO_TRAP 0
#define WAS_CUT 1               /* an event here says that the answer beside it was cut */
#define IS_WHOLE_IF_EMPTY 2     /* and that must be asked for again */

typedef struct span {
    uint64_t since, until;
    int trap;
    uint64_t raw;               /* of the answer beside it: how many events came, */
    gs_window shown;            /* and from which second to which */
} span;

/* An author or a kind, or some of them where there are too many. */
typedef struct unit {
    size_t first, count;
    span *spans;
    size_t len, cap;
} unit;

/* A second that isn't whole unless larger answers come. */
typedef struct second {
    uint64_t at, shown, raw;
    int more;                   /* the relay says that there are more */
    int named, certain;         /* it was said to be dense, and for certain */
} second;

typedef struct settings {
    uint64_t page_size, timeout_ms;
} settings;

typedef struct session {
    settings set;
    uint32_t direction;
    gs_window window;
    gs_window *drained;
    size_t drained_len;
    gs_id *authors;             /* one of these two, or none */
    uint16_t *kinds;
    unit *units;
    size_t units_len;
    uint64_t limit, most, cut;  /* asked for; the largest answer; the smallest that is known to have been cut */
    gs_window claim;            /* what of the window isn't claimed yet, from its start on */
    uint64_t claimable;         /* the last second that can be claimed: what is yet to come can't */
    int claimed_all;
    second *unsure;             /* the newest first */
    size_t unsure_len, unsure_cap;
    size_t waiting;             /* how many of them are not named */
    int started, over;
    size_t asking;              /* the unit that is asked for, */
    span asked;                 /* what of it, */
    uint32_t sub;               /* and by which number */
    uint64_t silent_at, late_at;
    uint64_t raw, bad;          /* of the answer that is coming: everything, what was invalid, */
    gs_id *ids;                 /* and the different valid events, in a table */
    uint8_t *used;
    size_t table_len, valid;
    gs_window shown;
    uint64_t questions, answers, invalid;
    uint64_t noise;             /* invalid events that came with every answer: they take no other's place */
    gs_item *items;             /* what we have at the start, */
    uint8_t *items_shown;       /* and whether the relay showed it */
    size_t items_len;
    gs_id *have;
    gs_output *out;
    size_t out_len, out_cap, out_told;
    int no_room;
    char text[512];
} session;

static const char NAME[] = "by-author";
static const char VERSION[] = "0.1.0";
static const char NO_ROOM[] = "there is no room left";

/* What the last call without a session left on this thread. */
static _Thread_local char last_value[256];
static _Thread_local const char *last_reason = "";

static gs_bytes bytes_of(const char *text) {
    gs_bytes bytes = {(const uint8_t *)text, strlen(text)};
    return bytes;
}

static int is(gs_bytes bytes, const char *text) {
    return bytes.len == strlen(text) && memcmp(bytes.ptr, text, bytes.len) == 0;
}

/* A copy of an array, or null. */
static void *copied(const void *from, size_t count, size_t size) {
    void *copy = count == 0 || count > SIZE_MAX / size ? NULL : malloc(count * size);
    if (copy != NULL) {
        memcpy(copy, from, count * size);
    }
    return copy;
}

/* Room for one more; 0 where there is none. */
static int grow(void **array, size_t len, size_t *cap, size_t size) {
    if (len < *cap) {
        return 1;
    }
    size_t more = *cap == 0 ? 16 : *cap * 2;
    void *grown = more > SIZE_MAX / size ? NULL : realloc(*array, more * size);
    if (grown == NULL) {
        return 0;
    }
    *array = grown;
    *cap = more;
    return 1;
}

/* ---- configuration ---- */

static int refuse(gs_checked *checked, const gs_setting *setting, const char *allowed) {
    size_t len = 0;
    int text = setting->kind == GS_SETTING_TEXT;
    if (text) {
        last_value[len++] = '"';
    }
    for (size_t i = 0; i < setting->text.len && len < sizeof last_value - 4; i++) {
        uint8_t c = setting->text.ptr[i];
        if (text && (c == '"' || c == '\\')) {
            last_value[len++] = '\\';
        }
        last_value[len++] = (char)(c < 0x20 ? ' ' : c);
    }
    if (text) {
        last_value[len++] = '"';
    }
    last_value[len] = 0;
    last_reason = allowed;
    if (checked != NULL) {
        checked->key = setting->key;
        checked->value = bytes_of(last_value);
        checked->allowed = bytes_of(allowed);
    }
    return GS_FAILED;
}

static int read_config(const gs_config *config, settings *set, gs_checked *checked) {
    set->page_size = 500;
    set->timeout_ms = 30000;
    for (size_t i = 0; i < config->settings_len; i++) {
        const gs_setting *setting = &config->settings[i];
        if (is(setting->key, "page_size")) {
            if (setting->kind != GS_SETTING_INTEGER || setting->integer < 1 || setting->integer > 5000) {
                return refuse(checked, setting, "must be a whole number from 1 to 5000");
            }
            set->page_size = (uint64_t)setting->integer;
        } else if (is(setting->key, "timeout")) {
            uint64_t ms = setting->kind == GS_SETTING_TEXT ? setting->duration_ms : GS_NONE;
            if (ms < 1 || ms > 3600000) {
                return refuse(checked, setting, "must be a duration in quotes from 1ms to 3600000ms, such as \"30s\"");
            }
            set->timeout_ms = ms;
        } else {
            return refuse(checked, setting, "is unknown; the keys are page_size, timeout");
        }
    }
    return GS_OK;
}

static int32_t check_config(const gs_config *config, gs_checked *checked) {
    settings set;
    int code = read_config(config, &set, checked);
    if (code == GS_OK) {
        checked->concurrency = 4;
        checked->fetch_chunk = 256;
        checked->answer_timeout_ms = set.timeout_ms;
    }
    return code;
}

static int32_t suits(const gs_config *config, const gs_profile *profile, const gs_filter *filter) {
    (void)config, (void)profile, (void)filter;
    return GS_SOME; /* every relay knows REQ */
}

/* ---- outputs ---- */

/* A new output, zeroed; never null. Where there is no room, nobody will see it. */
static gs_output *yield(session *s, uint32_t kind) {
    static _Thread_local gs_output nowhere;
    gs_output *out = &nowhere;
    if (grow((void **)&s->out, s->out_len, &s->out_cap, sizeof *s->out)) {
        out = &s->out[s->out_len++];
    } else {
        s->no_room = 1;
    }
    memset(out, 0, sizeof *out);
    out->kind = kind;
    return out;
}

static gs_output *done(session *s, uint32_t outcome, uint32_t reason, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(s->text, sizeof s->text, format, args);
    va_end(args);
    gs_output *out = yield(s, GS_DONE);
    out->outcome = outcome;
    out->reason = reason;
    out->cap = GS_NONE;
    out->bytes = bytes_of(s->text);
    s->over = 1;
    return out;
}

/* ---- what is claimed ---- */

/* Whether an answer of so many events holds all that there is. */
static int is_whole(const session *s, uint64_t raw) {
    return raw < s->most && raw < s->limit && raw < s->cut;
}

static void drained(session *s, uint64_t since, uint64_t until) {
    gs_output *out = yield(s, GS_DRAINED);
    out->window.since = since;
    out->window.until = until;
}

/* The newest unsure second that isn't later than `at`. */
static size_t unsure_from(const session *s, uint64_t at) {
    size_t low = 0, high = s->unsure_len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->unsure[middle].at > at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The newest second that a unit hasn't been read in; 0 where there is none. */
static int cursor(const unit *of, uint64_t *at) {
    if (of->len == 0) {
        return 0;
    }
    const span *top = &of->spans[of->len - 1];
    *at = top->trap == IS_WHOLE_IF_EMPTY ? top->shown.until : top->until;
    return 1;
}

/* The unit that is the furthest behind; 0 where all have been read. */
static int furthest(const session *s, size_t *which, uint64_t *at) {
    int found = 0;
    for (size_t i = 0; i < s->units_len; i++) {
        uint64_t here;
        if (cursor(&s->units[i], &here) && (!found || here > *at)) {
            found = 1;
            *at = here;
            *which = i;
        }
    }
    return found;
}

/* Claims a window, but for what was claimed in earlier sessions. */
static void claim_window(session *s, uint64_t since, uint64_t until) {
    for (size_t i = 0; i < s->drained_len && s->drained[i].since <= until; i++) {
        gs_window before = s->drained[i];
        if (before.since > before.until || before.until < since) {
            continue;
        }
        if (since < before.since) {
            drained(s, since, before.since - 1);
        }
        if (before.until >= until) {
            return;
        }
        since = before.until + 1;
    }
    drained(s, since, until);
}

/* Claims what lies above everything that is left to read, but for unsure seconds. */
static void claim(session *s) {
    size_t which;
    uint64_t at;
    gs_window all = s->claim;
    int is_left = furthest(s, &which, &at);
    if (s->claimed_all || (is_left && at >= all.until)) {
        return;
    }
    if (is_left && at >= all.since) {
        all.since = at + 1;
        s->claim.until = at;
    } else {
        s->claimed_all = 1;
    }
    for (size_t i = unsure_from(s, all.until); i < s->unsure_len && s->unsure[i].at >= all.since; i++) {
        if (s->unsure[i].at < all.until) {
            claim_window(s, s->unsure[i].at + 1, all.until);
        }
        if (s->unsure[i].at == all.since) {
            return;
        }
        all.until = s->unsure[i].at - 1;
    }
    claim_window(s, all.since, all.until);
}

/* Whether all units have been read in a second. */
static int is_read(const session *s, uint64_t at) {
    return s->claimed_all || at > s->claim.until;
}

/* How large answers get is known as well as it will be: lets go of what is whole by now, and names the rest, if asked to. */
static void settle(session *s, int name) {
    size_t kept = 0;
    for (size_t i = 0; i < s->unsure_len; i++) {
        second of = s->unsure[i];
        if (!of.named && !of.more && is_whole(s, of.raw)) {
            /* Where it isn't read by all yet, it is claimed with what lies around it. */
            if (is_read(s, of.at) && of.at <= s->claimable) {
                drained(s, of.at, of.at);
            }
            continue;
        }
        if (!of.named && name) {
            gs_output *out = yield(s, GS_DENSE);
            out->second = of.at;
            out->count = of.shown;
            of.certain = of.more || of.raw >= s->limit || (of.raw >= s->cut && of.raw >= s->most);
            of.named = 1;
            out->certain = (uint32_t)of.certain;
        }
        s->unsure[kept++] = of;
    }
    s->unsure_len = kept;
    s->waiting = 0;
}

/* A second may hold more than was shown. */
static void doubt(session *s, uint64_t at, uint64_t shown, uint64_t raw, int more) {
    if (s->waiting >= MAX_UNSURE) {
        settle(s, 1);
    }
    size_t place = unsure_from(s, at);
    if (place < s->unsure_len && s->unsure[place].at == at) {
        second *known = &s->unsure[place];
        known->shown += shown; /* by another author */
        known->raw = raw > known->raw ? raw : known->raw;
        known->more |= more;
        return;
    }
    if (!grow((void **)&s->unsure, s->unsure_len, &s->unsure_cap, sizeof *s->unsure)) {
        s->no_room = 1;
        return;
    }
    memmove(&s->unsure[place + 1], &s->unsure[place], (s->unsure_len - place) * sizeof *s->unsure);
    s->unsure_len++;
    s->waiting++;
    second new = {at, shown, raw, more, 0, 0};
    s->unsure[place] = new;
}

/* ---- what is read ---- */

static void push(session *s, uint64_t since, uint64_t until, int trap) {
    unit *of = &s->units[s->asking];
    if (of->len >= MAX_SPANS || !grow((void **)&of->spans, of->len, &of->cap, sizeof *of->spans)) {
        s->no_room = 1;
        return;
    }
    span new = {since, until, trap, s->raw, s->shown};
    of->spans[of->len++] = new;
}

static void push_halves(session *s, uint64_t since, uint64_t until) {
    uint64_t middle = since + (until - since) / 2;
    push(s, since, middle, NO_TRAP);
    push(s, middle + 1, until, NO_TRAP);
}

/* An answer showed valid events. */
static void answered(session *s, int finished) {
    span asked = s->asked;
    gs_window shown = s->shown;
    if (asked.trap != NO_TRAP && asked.raw < s->cut) {
        s->cut = asked.raw;
    }
    if (finished == 1) {
        /* All of it was shown. */
    } else if (finished < 0 && is_whole(s, s->raw)) {
        if (asked.since < shown.since) {
            push(s, asked.since, shown.since - 1, IS_WHOLE_IF_EMPTY);
        }
    } else {
        if (asked.since < shown.since) {
            push(s, asked.since, shown.since - 1, WAS_CUT);
        }
        if (shown.since == shown.until) {
            doubt(s, shown.since, s->valid, s->raw, finished == 0);
        } else {
            push_halves(s, shown.since, shown.until);
        }
        if (shown.until < asked.until) {
            push(s, shown.until + 1, asked.until, WAS_CUT);
        }
    }
    if (asked.trap == IS_WHOLE_IF_EMPTY) {
        push(s, asked.shown.since, asked.shown.until, NO_TRAP);
    }
}

/* An answer showed no valid event; 0 where there is no way on. */
static int answered_without(session *s, int finished) {
    span asked = s->asked;
    if (s->raw > 0 && (finished == 0 || ++s->invalid > MAX_INVALID)) {
        return 0;
    }
    if (s->raw == 0 || finished == 1 || is_whole(s, s->raw)) {
        return 1;
    }
    /* Invalid events may stand where valid ones were left out. */
    if (asked.since == asked.until) {
        doubt(s, asked.since, 0, s->raw, 0);
    } else {
        push_halves(s, asked.since, asked.until);
    }
    if (asked.trap == IS_WHOLE_IF_EMPTY) {
        push(s, asked.shown.since, asked.shown.until, NO_TRAP);
    }
    return 1;
}

/* ---- what we have and the relay never showed ---- */

static int compare_items(const void *a, const void *b) {
    const gs_item *x = a, *y = b;
    if (x->created_at != y->created_at) {
        return x->created_at < y->created_at ? -1 : 1;
    }
    return memcmp(x->id, y->id, sizeof(gs_id));
}

static int copy_set(session *s, const gs_set *set) {
    gs_item first, end;
    memset(&first, 0, sizeof first);
    memset(&end, 0, sizeof end);
    end.created_at = GS_NONE;
    uint64_t count = set->count(set->ctx, &first, &end);
    if (count == 0) {
        return 1;
    }
    if (count > SIZE_MAX / sizeof(gs_item)) {
        return 0;
    }
    s->items = malloc((size_t)count * sizeof(gs_item));
    s->items_shown = calloc((size_t)count, 1);
    s->have = malloc((size_t)count * sizeof(gs_id));
    if (s->items == NULL || s->items_shown == NULL || s->have == NULL) {
        return 0;
    }
    s->items_len = set->items(set->ctx, &first, &end, s->items, (size_t)count);
    return 1;
}

static void offer(session *s) {
    size_t count = 0;
    for (size_t i = 0; i < s->items_len; i++) {
        uint64_t at = s->items[i].created_at;
        size_t place = unsure_from(s, at);
        /* Where more is known to be there, what wasn't shown may well be. */
        int dense = place < s->unsure_len && s->unsure[place].at == at && s->unsure[place].certain;
        if (!s->items_shown[i] && !dense) {
            memcpy(s->have[count++], s->items[i].id, sizeof(gs_id));
        }
    }
    for (size_t i = 0; i < count; i += MAX_HAVE) {
        gs_output *out = yield(s, GS_HAVE);
        out->ids = (const gs_id *)s->have + i;
        out->ids_len = count - i < MAX_HAVE ? count - i : MAX_HAVE;
    }
}

/* ---- the session ---- */

/* Asks for the next span, or ends. */
static void ask(session *s, uint64_t mono_ms) {
    uint64_t at;
    claim(s);
    if (!furthest(s, &s->asking, &at)) {
        settle(s, 1);
        offer(s);
        done(s, GS_COMPLETE, 0, "%s", "");
        return;
    }
    if (++s->questions > MAX_QUESTIONS) {
        settle(s, 0);
        done(s, GS_GAVE_UP, GS_WHY_PROTOCOL, "the relay's answers have not ended within %d questions", MAX_QUESTIONS);
        return;
    }
    unit *of = &s->units[s->asking];
    s->asked = of->spans[--of->len];
    s->sub++;
    s->silent_at = mono_ms + s->set.timeout_ms;
    s->late_at = mono_ms + s->set.timeout_ms * MAX_TIMEOUTS;
    s->raw = s->bad = 0;
    s->valid = 0;
    memset(s->used, 0, s->table_len);
    gs_output *out = yield(s, GS_REQ);
    out->sub = s->sub;
    out->window.since = s->asked.since;
    out->window.until = s->asked.until;
    out->limit = s->limit;
    if (s->authors != NULL) {
        out->authors = (const gs_id *)s->authors + of->first;
        out->authors_len = of->count;
    } else if (s->kinds != NULL) {
        out->kinds = s->kinds + of->first;
        out->kinds_len = of->count;
    }
}

static void end_of_answer(session *s, int finished, uint64_t mono_ms) {
    yield(s, GS_PROGRESS)->count = s->valid;
    s->noise = s->bad < s->noise ? s->bad : s->noise;
    s->raw -= ++s->answers >= ENOUGH ? s->noise : 0;
    s->most = s->valid > s->most ? s->valid : s->most;
    if (finished == 0 && s->raw < s->cut) {
        s->cut = s->raw;
    }
    if (s->valid > 0) {
        answered(s, finished);
    } else if (!answered_without(s, finished)) {
        settle(s, 0);
        done(s, GS_GAVE_UP, GS_WHY_PROTOCOL, "it sent %llu events, none of them valid", (unsigned long long)s->raw);
        return;
    }
    ask(s, mono_ms);
}

/* Every unit is to be read in what of the window isn't drained. */
static void start(session *s, const gs_input *input, const gs_set *set) {
    s->claim = s->window;
    if (s->claim.until == GS_NONE) {
        s->claim.until = input->unix_s;
    }
    s->claimable = s->claim.until;
    s->claimed_all = s->claim.since > s->claim.until;
    if ((s->direction == GS_UP || s->direction == GS_BOTH) && !copy_set(s, set)) {
        s->no_room = 1;
        return;
    }
    for (s->asking = 0; s->asking < s->units_len; s->asking++) {
        uint64_t since = s->window.since;
        int is_left = 1;
        for (size_t i = 0; i < s->drained_len && is_left; i++) {
            gs_window window = s->drained[i];
            if (window.since > window.until || window.until < since) {
                continue;
            }
            if (window.since > s->window.until) {
                break;
            }
            if (since < window.since) {
                push(s, since, window.since - 1, NO_TRAP);
            }
            is_left = window.until < s->window.until;
            since = is_left ? window.until + 1 : since;
        }
        if (is_left && since <= s->window.until) {
            push(s, since, s->window.until, NO_TRAP);
        }
    }
    ask(s, input->mono_ms);
}

/* Counts an event of the current answer, once. */
static void count_event(session *s, const gs_input *input) {
    uint64_t at = input->created_at;
    s->raw++;
    if (input->verdict >= GS_BAD || at < s->asked.since || at > s->asked.until) {
        s->bad++;
        return;
    }
    s->silent_at = input->mono_ms + s->set.timeout_ms;
    if (s->valid == 0 || at < s->shown.since) {
        s->shown.since = at;
    }
    if (s->valid == 0 || at > s->shown.until) {
        s->shown.until = at;
    }
    size_t slot;
    memcpy(&slot, input->id, sizeof slot);
    for (slot &= s->table_len - 1; s->used[slot]; slot = (slot + 1) & (s->table_len - 1)) {
        if (memcmp(s->ids[slot], input->id, sizeof(gs_id)) == 0) {
            return;
        }
    }
    if (s->valid < s->table_len / 2) {
        s->used[slot] = 1;
        memcpy(s->ids[slot], input->id, sizeof(gs_id));
        s->valid++;
    }
}

static void event(session *s, const gs_input *input) {
    if (input->verdict < GS_BAD && s->items_len > 0) {
        /* Of an ended answer too: late is not lacking. */
        gs_item key;
        key.created_at = input->created_at;
        memcpy(key.id, input->id, sizeof key.id);
        const gs_item *found = bsearch(&key, s->items, s->items_len, sizeof key, compare_items);
        if (found != NULL) {
            s->items_shown[found - s->items] = 1;
        }
    }
    if (input->sub != s->sub) {
        return;
    }
    count_event(s, input);
    if (s->raw > MAX_ANSWER) {
        yield(s, GS_CLOSE)->sub = s->sub;
        settle(s, 0);
        done(s, GS_GAVE_UP, GS_WHY_PROTOCOL, "more than %d events in one answer", MAX_ANSWER);
    }
}

static void refused(session *s, const gs_input *input) {
    uint32_t outcome = input->meaning == GS_SAID_TOO_BIG ? GS_TOO_BIG : GS_GAVE_UP;
    int len = input->bytes.len < 400 ? (int)input->bytes.len : 400;
    settle(s, 0);
    gs_output *out = done(s, outcome, GS_WHY_REFUSED, "%.*s", len, len > 0 ? (const char *)input->bytes.ptr : "");
    out->meaning = input->meaning;
    out->cap = input->cap;
}

static void take(session *s, const gs_input *input, const gs_set *set) {
    int ours = s->started && input->sub == s->sub;
    if (input->kind == GS_START && !s->started) {
        s->started = 1;
        start(s, input, set);
    } else if (input->kind == GS_CONNECTION_LOST) {
        settle(s, 0);
        done(s, GS_GAVE_UP, GS_WHY_CONNECTION_LOST, "the connection was lost");
    } else if (!s->started) {
        return;
    } else if (input->kind == GS_EVENT) {
        event(s, input);
    } else if (input->kind == GS_EOSE && ours) {
        yield(s, GS_CLOSE)->sub = s->sub;
        end_of_answer(s, input->finished, input->mono_ms);
    } else if (input->kind == GS_CLOSED && ours) {
        /* Some relays end an answer so, in place of EOSE. */
        if (input->meaning == GS_UNKNOWN && (input->bytes.len == 0 || s->raw > 0)) {
            end_of_answer(s, -1, input->mono_ms);
        } else {
            refused(s, input);
        }
    } else if (input->kind == GS_NOTICE && input->meaning != GS_UNKNOWN && !input->names_negentropy) {
        yield(s, GS_CLOSE)->sub = s->sub;
        refused(s, input);
    } else if (input->kind == GS_TIMEOUT && (input->mono_ms >= s->silent_at || input->mono_ms >= s->late_at)) {
        yield(s, GS_CLOSE)->sub = s->sub;
        settle(s, 0);
        done(s, GS_GAVE_UP, GS_WHY_TIMEOUT, "neither an event nor EOSE within %llu ms",
             (unsigned long long)s->set.timeout_ms);
    }
}

static int32_t handle(void *opened, const gs_input *inputs, size_t inputs_len, const gs_set *set) {
    session *s = opened;
    for (size_t i = 0; i < inputs_len && !s->over && !s->no_room; i++) {
        take(s, &inputs[i], set);
    }
    if (s->no_room) {
        /* What was yielded may lack something: the end alone is told. */
        s->over = 1;
        s->out_told = s->out_len = 0;
    }
    return GS_OK;
}

static int32_t poll(void *opened, gs_output *output) {
    session *s = opened;
    gs_output end = {0};
    const gs_output *next = &end;
    if (s->no_room) {
        s->no_room = 0;
        end.kind = GS_DONE;
        end.outcome = GS_GAVE_UP;
        end.reason = GS_WHY_LOCAL;
        end.bytes = bytes_of(NO_ROOM);
    } else if (s->out_told < s->out_len) {
        next = &s->out[s->out_told++];
    } else {
        s->out_told = s->out_len = 0;
        return GS_OK;
    }
    /* A host of a lower minor version may have room for less. */
    uint32_t struct_size = output->struct_size;
    memcpy(output, next, struct_size < sizeof *output ? struct_size : sizeof *output);
    output->struct_size = struct_size;
    return GS_SOME;
}

static int32_t next_timeout(void *opened, uint64_t *mono_ms, gs_bytes *what) {
    session *s = opened;
    if (!s->started || s->over) {
        return GS_OK;
    }
    *mono_ms = s->silent_at < s->late_at ? s->silent_at : s->late_at;
    *what = bytes_of("an event or EOSE");
    return GS_SOME;
}

static void last_error(void *opened, gs_bytes *text) {
    *text = bytes_of(opened != NULL ? "" : last_reason); /* no call of a session fails */
}

static void destroy(void *opened) {
    session *s = opened;
    for (size_t i = 0; s->units != NULL && i < s->units_len; i++) {
        free(s->units[i].spans);
    }
    free(s->units);
    free(s->drained);
    free(s->authors);
    free(s->kinds);
    free(s->unsure);
    free(s->ids);
    free(s->used);
    free(s->items);
    free(s->items_shown);
    free(s->have);
    free(s->out);
    free(s);
}

static int compare_windows(const void *a, const void *b) {
    const gs_window *x = a, *y = b;
    return x->since < y->since ? -1 : x->since > y->since;
}

/* Copies what the session needs of its request; 0 where there is no room. */
static int copy_request(session *s, const gs_request *request) {
    const gs_filter *filter = &request->filter;
    size_t count = 1;
    if (filter->authors != NULL && filter->authors_len > 0) {
        count = filter->authors_len;
        s->authors = copied(filter->authors, count, sizeof(gs_id));
        if (s->authors == NULL) {
            return 0;
        }
    } else if (filter->authors == NULL && filter->kinds != NULL && filter->kinds_len > 0) {
        count = filter->kinds_len;
        s->kinds = copied(filter->kinds, count, sizeof(uint16_t));
        if (s->kinds == NULL) {
            return 0;
        }
    }
    size_t group = (count + MAX_UNITS - 1) / MAX_UNITS;
    s->units_len = (count + group - 1) / group;
    s->units = calloc(s->units_len, sizeof *s->units);
    if (s->units == NULL) {
        return 0;
    }
    for (size_t i = 0; i < s->units_len; i++) {
        s->units[i].first = i * group;
        s->units[i].count = count - i * group < group ? count - i * group : group;
    }
    s->direction = request->direction;
    s->window = request->window;
    /* What the relay lacks is known only where all that it has was seen in this session. */
    if (request->direction == GS_DOWN && request->drained_len > 0) {
        s->drained_len = request->drained_len;
        s->drained = copied(request->drained, s->drained_len, sizeof *s->drained);
        if (s->drained == NULL) {
            return 0;
        }
        qsort(s->drained, s->drained_len, sizeof *s->drained, compare_windows);
    }
    uint64_t most = request->profile->max_limit == 0 ? 1 : request->profile->max_limit;
    s->limit = s->set.page_size < most ? s->set.page_size : most;
    s->cut = s->noise = GS_NONE;
    for (s->table_len = 16; s->table_len < 4 * s->limit; s->table_len *= 2) {
    }
    s->ids = malloc(s->table_len * sizeof(gs_id));
    s->used = malloc(s->table_len);
    return s->ids != NULL && s->used != NULL;
}

static int32_t create(const gs_config *config, const gs_host *host, const gs_request *request, void **opened) {
    (void)host; /* it has nothing to say that its outputs don't */
    session *s = calloc(1, sizeof *s);
    if (s == NULL) {
        last_reason = NO_ROOM;
        return GS_FAILED;
    }
    if (read_config(config, &s->set, NULL) != GS_OK) {
        destroy(s);
        return GS_FAILED;
    }
    if (!copy_request(s, request)) {
        destroy(s);
        last_reason = NO_ROOM;
        return GS_FAILED;
    }
    *opened = s;
    return GS_OK;
}

const gs_strategy *grasp_sync_strategy_v1(void) {
    static const gs_strategy table = {
        .magic = GS_MAGIC,
        .abi_major = GS_ABI_MAJOR,
        .abi_minor = GS_ABI_MINOR,
        .struct_size = sizeof(gs_strategy),
        .name = {(const uint8_t *)NAME, sizeof NAME - 1},
        .version = {(const uint8_t *)VERSION, sizeof VERSION - 1},
        .check_config = check_config,
        .suits = suits,
        .create = create,
        .handle = handle,
        .poll = poll,
        .next_timeout = next_timeout,
        .last_error = last_error,
        .destroy = destroy,
    };
    return &table;
}
