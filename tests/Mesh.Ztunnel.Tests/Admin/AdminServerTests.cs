using System.Net;
using Mesh.Testing;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Admin;

/// <summary>Who may ask, and the commands (ztunnel §10.4).</summary>
public sealed class AdminServerTests
{
    [Theory]
    [InlineData("localhost", null, true)]
    [InlineData("LOCALHOST:15000", null, true)]
    [InlineData("localhost:43210", null, true)]
    [InlineData("127.0.0.1", null, true)]
    [InlineData("127.0.0.1:15000", null, true)]
    [InlineData("[::1]:15000", null, true)]
    [InlineData("[::1]", null, true)]
    [InlineData("evil.example", null, false)]
    [InlineData("evil.example:15000", null, false)]
    [InlineData("localhost.evil.example", null, false)]
    [InlineData("localhost.", null, false)]
    [InlineData("127.0.0.2", null, false)]
    [InlineData("127.1", null, false)]
    [InlineData("10.0.0.1:15000", null, false)]
    [InlineData("localhost:15000", "http://localhost:15000", true)]
    [InlineData("localhost:15000", "http://LOCALHOST:15000", true)]
    [InlineData("localhost:15000", "https://localhost:15000", false)]
    [InlineData("localhost:15000", "http://localhost:8080", false)]
    [InlineData("localhost:15000", "http://localhost", false)]
    [InlineData("localhost:15000", "http://127.0.0.1:15000", false)]
    [InlineData("localhost:15000", "http://evil.example", false)]
    [InlineData("localhost:15000", "null", false)]
    [InlineData("localhost:15000", "", false)]
    public async Task Only_who_means_this_machine_and_comes_from_no_other_site_is_answered(string host, string? origin, bool answered)
    {
        await using var stage = await AdminStage.StartAsync();
        foreach (var method in (HttpMethod[])[HttpMethod.Get, HttpMethod.Post])
        {
            using var request = new HttpRequestMessage(method, $"{stage.Url}/{(method == HttpMethod.Get ? "config_dump" : "logging")}");
            request.Headers.Host = host;
            if (origin is not null)
            {
                request.Headers.TryAddWithoutValidation("Origin", origin);
            }

            using var response = await stage.Client.SendAsync(request);
            Assert.Equal(answered ? HttpStatusCode.OK : HttpStatusCode.Forbidden, response.StatusCode);
            Assert.DoesNotContain(response.Headers, header => header.Key.StartsWith("Access-Control", StringComparison.OrdinalIgnoreCase));
        }
    }

    [Fact]
    public async Task The_address_that_it_listens_on_is_one_of_ours_too()
    {
        await using var stage = await AdminStage.StartAsync();
        Assert.StartsWith("{", await stage.GetAsync("/config_dump"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/")]
    [InlineData("/config_dump")]
    [InlineData("/nowhere")]
    public async Task Every_answer_tells_the_browser_to_trust_nothing_else(string path)
    {
        await using var stage = await AdminStage.StartAsync();
        using var response = await stage.Client.GetAsync($"{stage.Url}{path}");
        Assert.Equal("nosniff", Header("X-Content-Type-Options"));
        Assert.Equal("no-store", Header("Cache-Control"));
        Assert.Equal("same-origin", Header("Cross-Origin-Resource-Policy"));
        Assert.StartsWith("default-src 'none'; ", Header("Content-Security-Policy"), StringComparison.Ordinal);
        Assert.Contains("frame-ancestors 'none'", Header("Content-Security-Policy"), StringComparison.Ordinal);
        Assert.DoesNotContain("unsafe", Header("Content-Security-Policy"), StringComparison.Ordinal);

        string Header(string name) => string.Join(",", response.Headers.GetValues(name));
    }

    [Theory]
    [InlineData("info", "", 200, "info")]
    [InlineData("", "", 200, "info")]
    [InlineData("warn,access=debug", "", 200, "warn,access=debug")]
    [InlineData("info", "?level=debug", 200, "debug")]
    [InlineData("info", "?level=access=debug", 200, "info,access=debug")]
    [InlineData("info", "?level=access=debug,Dns=off,warn", 200, "access=debug,Dns=off,warn")]
    [InlineData("info,access=off", "?level=access=trace", 200, "info,access=trace")]
    [InlineData("warn", "?reset", 200, "warn")]
    [InlineData("warn", "?reset&level=access=error", 200, "warn,access=error")]
    [InlineData("warn", "?level=loud", 400, "warn")]
    [InlineData("warn", "?level=", 400, "warn")]
    [InlineData("warn", "?level=access=loud", 400, "warn")]
    [InlineData("warn", "?level==debug", 400, "warn")]
    [InlineData("warn", "?reset&level=debug,loud", 400, "warn")]
    [InlineData("warn", "?lvel=debug", 400, "warn")]
    public async Task The_log_level_is_shown_and_set(string initial, string query, int status, string after)
    {
        await using var stage = await AdminStage.StartAsync();
        if (Telemetry.LogLevels.TryParse(initial, out IReadOnlyList<KeyValuePair<string, LogLevel>>? rules))
        {
            stage.LogLevels.Initialize(rules);
        }

        var (answered, text) = await stage.PostAsync($"/logging{query}");
        Assert.Equal(status, (int)answered);
        Assert.StartsWith(status == 200 ? $"current log level is {after}\n" : "usage: ", text, StringComparison.Ordinal);
        Assert.Equal(after, stage.LogLevels.ToString());
    }

    [Fact]
    public async Task What_was_set_before_comes_back_with_a_reset_and_counts_at_once()
    {
        await using var stage = await AdminStage.StartAsync();
        Assert.False(stage.LogLevels.IsLogged("access", LogLevel.Debug));
        await stage.PostAsync("/logging?level=access=debug");
        Assert.True(stage.LogLevels.IsLogged("access", LogLevel.Debug));
        Assert.False(stage.LogLevels.IsLogged("Mesh.Ztunnel.Outbound", LogLevel.Debug));
        await stage.PostAsync("/logging?reset");
        Assert.False(stage.LogLevels.IsLogged("access", LogLevel.Debug));
    }

    [Fact]
    public async Task It_ends_the_program_when_it_is_told_to_and_answers_first()
    {
        await using var stage = await AdminStage.StartAsync();
        using var get = await stage.Client.GetAsync($"{stage.Url}/quitquitquit");
        Assert.Equal((HttpStatusCode.MethodNotAllowed, "POST"), (get.StatusCode, string.Join(",", get.Content.Headers.Allow)));
        Assert.False(stage.Lifetime.ApplicationStopping.IsCancellationRequested);

        Assert.Equal((HttpStatusCode.OK, "shutdown now\n"), await stage.PostAsync("/quitquitquit"));
        await Eventually.Until("the program is told", () => stage.Lifetime.ApplicationStopping.IsCancellationRequested);
    }

    [Theory]
    [InlineData("GET", "/logging", 405)]
    [InlineData("POST", "/config_dump", 405)]
    [InlineData("PUT", "/quitquitquit", 405)]
    [InlineData("GET", "/nowhere", 404)]
    [InlineData("GET", "/debug/pprof/heap", 404)]
    [InlineData("GET", "/page/../AdminServer.cs", 404)]
    public async Task Other_methods_and_paths_are_refused(string method, string path, int status)
    {
        await using var stage = await AdminStage.StartAsync();
        using var request = new HttpRequestMessage(new HttpMethod(method), $"{stage.Url}{path}");
        using var response = await stage.Client.SendAsync(request);
        Assert.Equal(status, (int)response.StatusCode);
    }

    [Fact]
    public async Task A_port_that_is_taken_fails_the_start()
    {
        await using var stage = await AdminStage.StartAsync(stage => stage.Options.StatsPort = null);
        var error = await Assert.ThrowsAsync<IOException>(() => AdminServers.StartAsync(stage.Context, CancellationToken.None));
        Assert.Contains($"{stage.Options.ListenAddress}:15000", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_address_that_others_can_reach_is_not_listened_on()
    {
        await using var stage = await AdminStage.StartAsync(stage =>
        {
            stage.Options.ListenAddress = IPAddress.Parse("192.0.2.1");
            stage.Options.StatsPort = null;
            stage.Options.AdminPort = 15990;
        });
        Assert.StartsWith("{", await stage.Client.GetStringAsync("http://127.0.0.1:15990/config_dump"), StringComparison.Ordinal);
        Assert.StartsWith("{", await stage.Client.GetStringAsync("http://localhost:15990/config_dump"), StringComparison.Ordinal);
    }

    [Fact]
    public void The_mesh_does_not_reach_it_by_the_workloads_address()
    {
        var options = new ZtunnelOptions { ListenAddress = IPAddress.Parse("127.0.0.7") };
        Assert.True(options.IsIllegalPort(15000));
        Assert.False(new ZtunnelOptions().IsIllegalPort(15000));
    }
}
