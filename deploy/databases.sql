-- Run once by the PostgreSQL image, when its volume is empty.
CREATE DATABASE prefect;
CREATE DATABASE mlflow;
