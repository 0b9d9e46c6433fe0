"""Messages and values: conversion, pages, framing."""
