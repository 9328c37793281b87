-- Person names, one row per group (alphabetic, ideographic, phonetic), so that each group is matched from its start.
--
-- `kind` is the column of the name (1 patient, 2 referring physician). `text` is folded; components keep their `^`.
create table study_name (
    id integer primary key,
    partition integer not null,
    kind integer not null,
    study_row integer not null references study (id) on delete cascade,
    text text not null
);

create index study_name_by_text on study_name (partition, kind, text, study_row);
create index study_name_by_study on study_name (study_row, kind);

-- Every suffix of a group that starts at a word, for matching by word prefixes. Behind the first word stands U+0001,
-- behind the second U+0002 and so on: the prefixes `jo do` are the pattern `jo*<1>do*`, which no word in between can
-- satisfy.
create table study_name_word (
    partition integer not null,
    kind integer not null,
    text text not null,
    study_row integer not null references study (id) on delete cascade,
    primary key (partition, kind, text, study_row)
) without rowid;

create index study_name_word_by_study on study_name_word (study_row, kind);

-- Trigrams for patterns that start with a wildcard. The index keeps no text of its own and no positions: a match is
-- checked against study_name.
create virtual table study_name_trigram using fts5 (
    text,
    content = 'study_name',
    content_rowid = 'id',
    columnsize = 0,
    detail = 'none',
    tokenize = 'trigram case_sensitive 1'
);

create trigger study_name_inserted after insert on study_name begin
    insert into study_name_trigram (rowid, text) values (new.id, new.text);
end;

create trigger study_name_deleted after delete on study_name begin
    insert into study_name_trigram (study_name_trigram, rowid, text) values ('delete', old.id, old.text);
end;
