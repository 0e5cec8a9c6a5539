using System.Diagnostics;
using System.Globalization;
using System.Net;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Testing;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Playwright;

namespace Mesh.Ztunnel.Admin;

/// <summary>The page for people in a browser, with a thousand connections. Its pictures are left in artifacts/screenshots.</summary>
public sealed class BrowserTests : IAsyncLifetime
{
    private const int Connections = 1000;
    private static readonly TimeSpan LoadBound = TimeSpan.FromSeconds(10);

    private readonly List<string> _complaints = [];
    private readonly List<TrackedConnection> _open = [];
    private AdminStage _stage = null!;
    private IPlaywright _playwright = null!;
    private IBrowser _browser = null!;

    public async Task InitializeAsync()
    {
        if (Programs.WhySkip("chromium", "chromium", []) is not null)
        {
            return;
        }

        _stage = await AdminStage.StartAsync(stage => stage.State.Update(editor => editor.Upsert(new L4Authorization
        {
            Name = "only-web",
            Namespace = "shop",
            Scope = AuthorizationScope.Namespace,
            Action = AuthorizationAction.Allow,
            Rules = [new AuthorizationRule(new AuthorizationClause(new AuthorizationMatch { Principals = [StringMatch.Prefix("cluster.local/ns/shop/sa/web")] }))],
        })));
        await _stage.Certificates.GetAsync(TestMesh.Cart.Identity);
        for (var i = 0; i < Connections; i++)
        {
            _open.Add(_stage.Open(Inbound(i)));
            _stage.Time.Advance(TimeSpan.FromMilliseconds(17));
        }

        for (var i = 0; i < 40; i++)
        {
            var denied = Inbound(i, "thief");
            denied.Fail(ConnectionOutcome.Denied, ResponseFlag.Deny, $"connection closed due to policy rejection: {denied.Decision!.Reason}");
            await _stage.RecordAsync(denied);
        }

        _playwright = await Playwright.CreateAsync();
        _browser = await _playwright.Chromium.LaunchAsync(new BrowserTypeLaunchOptions { ExecutablePath = "/usr/bin/chromium", Args = ["--no-sandbox", "--headless"] });
    }

    public async Task DisposeAsync()
    {
        _open.ForEach(connection => connection.Dispose());
        if (_playwright is not null)
        {
            await _browser.DisposeAsync();
            _playwright.Dispose();
            await _stage.DisposeAsync();
        }
    }

    [RequiresProgram("chromium", "chromium")]
    public async Task It_loads_quickly_and_shows_as_many_rows_as_a_person_can_use()
    {
        var clock = Stopwatch.StartNew();
        var page = await OpenAsync();
        await page.Locator("#connections .more", new PageLocatorOptions { HasText = "500 shown, 500 more" }).WaitForAsync();
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, LoadBound);
        Assert.Equal(500, await page.Locator("#connections tbody tr").CountAsync());
        Assert.Equal(40, await page.Locator("#refused tbody tr").CountAsync());
        Assert.Equal("1", await page.Locator("#certificates .total").TextContentAsync());
        Assert.Empty(_complaints);
    }

    [RequiresProgram("chromium", "chromium")]
    public async Task The_filter_finds_what_is_not_shown_and_sorting_orders_by_value()
    {
        var page = await OpenAsync();
        var rows = page.Locator("#connections tbody tr");
        await page.FillAsync("#filter", "10.1.0.107:40107 web");
        await page.Locator("#connections .more", new PageLocatorOptions { HasText = "1 match" }).WaitForAsync();
        Assert.Contains("10.1.0.107:40107", await rows.First.TextContentAsync(), StringComparison.Ordinal);
        Assert.Equal(0, await page.Locator("#refused tbody tr").CountAsync());

        await page.FillAsync("#filter", "");
        var head = page.Locator("#connections th", new PageLocatorOptions { HasText = "Received" });
        await head.Locator("button").FocusAsync();
        await page.Keyboard.PressAsync("Enter");
        Assert.Equal("descending", await head.GetAttributeAsync("aria-sort"));
        Assert.Equal("975.6 KiB", await rows.First.Locator("td").Nth(9).TextContentAsync());
        await page.Keyboard.PressAsync("Enter");
        Assert.Equal("ascending", await head.GetAttributeAsync("aria-sort"));
        Assert.Equal("0 B", await rows.First.Locator("td").Nth(9).TextContentAsync());
        Assert.Empty(_complaints);
    }

    [RequiresProgram("chromium", "chromium")]
    public async Task What_changes_is_shown_by_itself_and_what_stays_is_not_made_anew()
    {
        var page = await OpenAsync();
        await page.EvaluateAsync("() => { for (const tr of document.querySelectorAll('#connections tbody tr')) { tr.isFirst = true; } }");
        _open[^1].Dispose();
        _open.Add(_stage.Open(Inbound(4242)));
        AdminStage.Carry(_open[^3].Record!, sent: 0, received: 5_000_000);
        await page.Locator("#connections tbody tr", new PageLocatorOptions { HasText = "10.1.16.146:44242" }).WaitForAsync();

        Assert.Equal(499, await page.EvaluateAsync<int>("() => [...document.querySelectorAll('#connections tbody tr')].filter(tr => tr.isFirst).length"));
        Assert.Equal(0, await page.Locator("#connections tbody tr", new PageLocatorOptions { HasText = "10.1.3.231:40999" }).CountAsync());
        Assert.Empty(_complaints);
    }

    [RequiresProgram("chromium", "chromium")]
    public async Task A_refresh_of_a_thousand_connections_does_not_hold_the_browser_up()
    {
        var page = await OpenAsync();
        var longest = await page.EvaluateAsync<double>("""
            async () => {
              let longest = 0;
              new PerformanceObserver(list => { for (const task of list.getEntries()) { longest = Math.max(longest, task.duration); } }).observe({ type: 'longtask' });
              await new Promise(done => setTimeout(done, 5000));
              return longest;
            }
            """);
        Assert.InRange(longest, 0, 500);
        Assert.Empty(_complaints);
    }

    [RequiresProgram("chromium", "chromium")]
    public async Task Light_and_dark_follow_the_system_and_both_can_be_read()
    {
        foreach (var scheme in (ColorScheme[])[ColorScheme.Light, ColorScheme.Dark])
        {
            var page = await OpenAsync(scheme);
            await page.Locator("#connections .more", new PageLocatorOptions { HasText = "500 more" }).WaitForAsync();
            var name = scheme is ColorScheme.Dark ? "dark" : "light";
            await page.ScreenshotAsync(new PageScreenshotOptions { Path = Repository.PathOf("artifacts", "screenshots", $"admin-{name}.png") });
            var back = await page.EvaluateAsync<string>("() => getComputedStyle(document.body).backgroundColor");
            Assert.Equal(scheme is ColorScheme.Dark, Luminance(back) < 0.2);
            foreach (var selector in (string[])["body", "p", "caption", "a", "th button", "td", "td[data-verdict=allowed]", "#refused td[data-verdict=denied]"])
            {
                var color = await page.EvaluateAsync<string>($"() => getComputedStyle(document.querySelector('main {selector}, {selector}')).color");
                var behind = selector == "th button" ? await page.EvaluateAsync<string>("() => getComputedStyle(document.querySelector('th')).backgroundColor") : back;
                Assert.True(Contrast(color, behind) >= 4.5, $"{selector} in {name}: {color} on {behind}");
            }
        }

        Assert.Empty(_complaints);
    }

    [RequiresProgram("chromium", "chromium")]
    public async Task What_peers_choose_runs_nothing()
    {
        const string Attack = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
        var hostile = new ConnectionRecord { Direction = ConnectionDirection.Inbound, Source = IPEndPoint.Parse("10.6.6.6:666"), HboneAddress = Attack, Why = Attack };
        _open.Add(_stage.Open(hostile));
        var page = await OpenAsync();
        await page.FillAsync("#filter", "10.6.6.6");
        await page.Locator("#connections .more", new PageLocatorOptions { HasText = "1 match" }).WaitForAsync();

        // Once more, so that the script has made the row too.
        await page.FillAsync("#filter", "nothing has this");
        await page.FillAsync("#filter", "10.6.6.6");
        Assert.Contains(Attack, await page.Locator("#connections tbody tr").First.TextContentAsync(), StringComparison.Ordinal);
        Assert.Equal(0, await page.Locator("main img, main script").CountAsync());
        Assert.DoesNotContain("owned", await page.TitleAsync(), StringComparison.Ordinal);
        Assert.Empty(_complaints);
    }

    [RequiresProgram("chromium", "chromium")]
    public async Task Without_its_script_the_page_still_shows_its_tables()
    {
        var context = await _browser.NewContextAsync(new BrowserNewContextOptions { JavaScriptEnabled = false });
        var page = await context.NewPageAsync();
        await page.GotoAsync(_stage.Url);
        Assert.Equal(500, await page.Locator("#connections tbody tr").CountAsync());
        Assert.False(await page.Locator("#controls").IsVisibleAsync());
    }

    [RequiresProgram("chromium", "chromium")]
    public async Task It_says_when_the_ztunnel_does_not_answer_any_more()
    {
        var page = await OpenAsync();
        await page.RouteAsync("**/api/status", route => route.AbortAsync());
        await page.Locator("#state", new PageLocatorOptions { HasText = "No answer since" }).WaitForAsync();
    }

    [RequiresProgram("chromium", "chromium")]
    public async Task Another_sites_page_can_neither_read_nor_command()
    {
        var context = await _browser.NewContextAsync();
        var page = await context.NewPageAsync();
        await page.RouteAsync("http://evil.example/**", route => route.FulfillAsync(new RouteFulfillOptions { ContentType = "text/html", Body = "<title>evil</title>" }));
        await page.GotoAsync("http://evil.example/");
        var outcome = await page.EvaluateAsync<string>($$"""
            async () => {
              const results = [];
              for (const [path, options] of [['/config_dump', {}], ['/quitquitquit', { method: 'POST' }], ['/quitquitquit', { method: 'POST', mode: 'no-cors' }]]) {
                try {
                  const response = await fetch('{{_stage.Url}}' + path, options);
                  results.push(response.type === 'opaque' ? 'opaque' : String(response.status));
                } catch {
                  results.push('blocked');
                }
              }
              return results.join(' ');
            }
            """);
        Assert.DoesNotContain("200", outcome, StringComparison.Ordinal);
        Assert.False(_stage.Lifetime.ApplicationStopping.IsCancellationRequested);
    }

    private async Task<IPage> OpenAsync(ColorScheme scheme = ColorScheme.Light)
    {
        var context = await _browser.NewContextAsync(new BrowserNewContextOptions { ColorScheme = scheme, ViewportSize = new ViewportSize { Width = 1600, Height = 1000 } });
        var page = await context.NewPageAsync();
        page.Console += (_, message) =>
        {
            if (message.Type is "error" or "warning")
            {
                _complaints.Add(message.Text);
            }
        };
        page.PageError += (_, error) => _complaints.Add(error);
        await page.GotoAsync(_stage.Url);
        await page.Locator("#controls").WaitForAsync();
        return page;
    }

    private static ConnectionRecord Inbound(int i, string source = "web")
    {
        var address = new IPEndPoint(new IPAddress([10, 1, (byte)(i / 256), (byte)(i % 256)]), 40_000 + i);
        var identity = Core.Identity.SpiffeId.Parse($"spiffe://cluster.local/ns/shop/sa/{source}-{i % 20}");
        var policies = L4PolicySet.Create(new L4Authorization
        {
            Name = "only-web",
            Namespace = "shop",
            Scope = AuthorizationScope.Namespace,
            Action = AuthorizationAction.Allow,
            Rules = [new AuthorizationRule(new AuthorizationClause(new AuthorizationMatch { Principals = [StringMatch.Prefix("cluster.local/ns/shop/sa/web")] }))],
        });
        var record = new ConnectionRecord
        {
            Direction = ConnectionDirection.Inbound,
            Source = address,
            SourceIdentity = identity,
            SourceWorkload = new Workload { Uid = $"{source}-{i}", Name = $"{source}-{i}", Namespace = "shop" },
            Destination = IPEndPoint.Parse("10.0.0.2:15008"),
            HboneAddress = "10.0.0.2:8080",
            DestinationWorkload = TestMesh.Cart,
            DestinationIdentity = TestMesh.Cart.Identity,
            DestinationService = TestMesh.CartService,
            Decision = L4Authorizer.Authorize(policies, TestMesh.Cart, new L4Connection(address.Address, identity, IPEndPoint.Parse("10.0.0.2:8080"))),
        };
        AdminStage.Carry(record, sent: i * 100L, received: i * 1000L);
        return record;
    }

    private static double Contrast(string one, string other)
    {
        var (a, b) = (Luminance(one), Luminance(other));
        return (Math.Max(a, b) + 0.05) / (Math.Min(a, b) + 0.05);
    }

    // WCAG 2.1, relative luminance of rgb(r, g, b).
    private static double Luminance(string color)
    {
        var parts = color[(color.IndexOf('(', StringComparison.Ordinal) + 1)..^1].Split(',').Take(3).Select(part =>
        {
            var c = double.Parse(part, CultureInfo.InvariantCulture) / 255;
            return c <= 0.04045 ? c / 12.92 : Math.Pow((c + 0.055) / 1.055, 2.4);
        }).ToArray();
        return (0.2126 * parts[0]) + (0.7152 * parts[1]) + (0.0722 * parts[2]);
    }
}
