-- The roles and the database that Waybill expects. compose.yaml has its Postgres run this once, as the superuser, on an empty volume;
-- with other passwords it serves any Postgres. Migrations grant the services what they may do: run as waybill_owner, they need no more.

-- Owns the database, its tables and functions.
CREATE ROLE waybill_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD 'waybill';
-- What every service connects as: reads, and appends through a function.
CREATE ROLE waybill_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD 'waybill';
CREATE DATABASE waybill OWNER waybill_owner;
